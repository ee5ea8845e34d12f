"""The formulas of the methods, as pure functions of tensors.

Everything here is branch-free and never reads a tensor back to the host, so a training step
stays asynchronous on an accelerator. All functions work in the dtype they are given.

Sources: SCI-PD, "Hybrid Domain Generalization" (arXiv 2404.09011, CVPR 2024); SCMD, "Selective
Cross-Modality Distillation" (arXiv 2311.15145, TMLR 2024); knowledge distillation
(arXiv 1503.02531); DKD (arXiv 2203.08679); NKD (arXiv 2303.13005); DIST (arXiv 2205.10536); RKD
(arXiv 1904.05068); CRD (arXiv 1910.10699); RISE (arXiv 2309.12530).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from edgedistill.methods.text_bank import TextBank

# Label of an image without one.
UNLABELLED = -1
_TINY = 1e-12


def similarity(cosines: Tensor, scale: float) -> Tensor:
    """CLIP's class probabilities: ``softmax(scale * cosines)`` over the last axis of [B, C]."""
    return F.softmax(cosines * scale, dim=-1)


def half_similarity(text: TextBank, image: Tensor, scale: float) -> Tensor:
    """`similarity` of unit-norm embeddings [B, D] in float16, as SCI-PD's authors' teacher on CUDA.

    In their order, ``softmax((scale * image) @ text)``: the scaled embedding is rounded, then the
    logits, and small probabilities underflow. [B, C] in the embeddings' dtype.
    """
    return F.softmax(text.cosines(image.half() * scale), dim=-1).to(image.dtype)


def instance_weights(similarities: Tensor, alpha: float) -> Tensor:
    """SCI-PD's instance perturbation: ``max_c(p_c) ** -alpha``, [B, C] -> [B], in [1, C**alpha].

    The less sure the teacher, the larger the weight. Expects the *unperturbed* similarities.
    """
    return similarities.amax(dim=-1).pow(-alpha)


def perturb_scores(similarities: Tensor, labels: Tensor, tau: float) -> Tensor:
    """SCI-PD's score perturbation: correct the teacher where its first choice is not the label.

    Rows [B, C] whose argmax (lowest index on ties) is the label are returned untouched. In the
    others the label's entry is raised by the row's maximum and the row goes through a softmax at
    temperature ``tau``; its argument is a probability vector, so the result is flat for many
    classes. ``labels`` is int64 [B].
    """
    classes = torch.arange(similarities.shape[-1], device=similarities.device)
    is_label = classes == labels.unsqueeze(-1)
    peak = similarities.amax(dim=-1, keepdim=True)
    corrected = F.softmax((similarities + peak * is_label) / tau, dim=-1)
    wrong = similarities.argmax(dim=-1) != labels
    return torch.where(wrong.unsqueeze(-1), corrected, similarities)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """``-sum_c q_c log_softmax(z)_c`` per row: logits and target probabilities [B, C] -> [B]."""
    return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1)


def focal_loss(logits: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Mean over rows [B, C] of ``-(1 - p_y)**gamma log p_y``; ``labels`` is int64 [B].

    Lin et al. 2017, arXiv 1708.02002, equation 4.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    # A power of zero has no finite gradient.
    others = (-torch.expm1(-losses)).clamp_min(_TINY)
    return (others.pow(gamma) * losses).mean()


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy averaged over the rows [B, C] that have a label; int64 [B], -1 for none."""
    return F.cross_entropy(logits, labels, ignore_index=UNLABELLED)


def labelled_mean(values: Tensor, labels: Tensor) -> Tensor:
    """Mean of ``values`` [B] over the rows that have a label; int64 [B], -1 for none."""
    has_label = labels != UNLABELLED
    return torch.where(has_label, values, 0.0).sum() / has_label.sum()


def weighted_soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Soft cross-entropy averaged with per-row ``weights`` [B], normalised over the batch.

    Scalar; unchanged when every weight is multiplied by the same positive number (SCI-PD).
    """
    return (weights * soft_cross_entropy(logits, targets)).sum() / weights.sum()


def class_perturbation(
    text_text: Tensor, text_weight: Tensor, *, double_softmax: bool = False
) -> Tensor:
    """SCI-PD's class perturbation: keep the classifier's geometry near that of the class texts.

    ``text_text`` [C, C] holds the cosines between class texts, ``text_weight`` [C, C] those of
    class text j with row k of the last linear layer. Both are read as logits, by rows and by
    columns; the scalar is the mean of the two cross-entropies of ``text_weight`` against
    ``text_text``. ``double_softmax`` feeds probabilities to a loss that expects logits, as the
    authors' code does: the value then hardly moves and its gradient is about C times smaller.
    """

    def half(prediction: Tensor, target: Tensor) -> Tensor:
        logits = F.softmax(prediction, dim=-1) if double_softmax else prediction
        return soft_cross_entropy(logits, F.softmax(target, dim=-1)).mean()

    return 0.5 * (half(text_weight, text_text) + half(text_weight.T, text_text.T))


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """``T**2 * KL(softmax(u / T) || softmax(z / T))``, averaged over rows: [B, C] twice -> scalar.

    The factor keeps the gradient's size independent of the temperature (arXiv 1503.02531).
    """
    divergence = F.kl_div(
        F.log_softmax(student_logits / temperature, dim=-1),
        F.log_softmax(teacher_logits / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


def target_distillation(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """DKD's term for the label: ``T**2 * KL`` of (p_y, 1 - p_y), averaged over rows [B, C].

    Both probabilities are softmaxes at ``temperature``; ``labels`` is int64 [B].
    """
    teacher = _label_against_others(teacher_logits / temperature, labels)
    student = _label_against_others(student_logits / temperature, labels)
    return temperature**2 * _divergence(teacher, student)


def non_target_distillation(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """DKD's term for the other classes: ``T**2 * KL`` of the softmaxes without the label's entry.

    [B, C] twice and int64 [B] to the mean over rows.
    """
    teacher = F.log_softmax(without_label(teacher_logits, labels) / temperature, dim=-1)
    student = F.log_softmax(without_label(student_logits, labels) / temperature, dim=-1)
    return temperature**2 * _divergence(teacher, student)


def non_target_cross_entropy(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """NKD's term for the other classes: ``T**2`` times the cross-entropy of their own softmaxes.

    [B, C] twice and int64 [B] to the mean over rows.
    """
    targets = F.softmax(without_label(teacher_logits, labels) / temperature, dim=-1)
    logits = without_label(student_logits, labels) / temperature
    return temperature**2 * soft_cross_entropy(logits, targets).mean()


def without_label(values: Tensor, labels: Tensor) -> Tensor:
    """Rows [B, C] without the entry of their label: [B, C - 1]."""
    # A boolean mask would have a shape that only the host can know.
    others = torch.arange(values.shape[-1] - 1, device=values.device)
    return values.gather(1, others + (others >= labels[:, None]))


def _label_against_others(logits: Tensor, labels: Tensor) -> Tensor:
    log_p = F.log_softmax(logits, dim=-1)
    others = without_label(log_p, labels).logsumexp(dim=-1)
    return torch.stack([log_p.gather(1, labels[:, None])[:, 0], others], dim=-1)


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def correlation_distance(left: Tensor, right: Tensor) -> Tensor:
    """One minus Pearson's correlation of the rows of two [M, N], averaged over rows (DIST).

    A row without variance has the correlation 0.
    """
    left = left - left.mean(dim=-1, keepdim=True)
    right = right - right.mean(dim=-1, keepdim=True)
    return 1 - F.cosine_similarity(left, right, dim=-1).mean()


def relative_distances(points: Tensor) -> Tensor:
    """Euclidean distances between rows [B, D] over the mean of those between two rows (RKD).

    [B, B], zeros on its diagonal; all zero where all rows are equal.
    """
    distances = _lengths(points[:, None] - points[None])
    pairs = max(1, len(points) * (len(points) - 1))
    return distances / (distances.sum() / pairs).clamp_min(_TINY)


def pairwise_angles(points: Tensor) -> Tensor:
    """Cosine of the angle that rows i and k of [B, D] make at row j, as [j, i, k] (RKD).

    0 where i or k is j.
    """
    edges = points[None] - points[:, None]
    lengths = _lengths(edges)
    edges = edges / torch.where(lengths > 0, lengths, 1.0)[..., None]
    return edges @ edges.transpose(1, 2)


def _lengths(edges: Tensor) -> Tensor:
    squared = edges.square().sum(dim=-1)
    # The root of zero has no finite gradient.
    return torch.where(squared > _TINY, squared.clamp_min(_TINY).sqrt(), 0.0)


def contrast(logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of each row and each column of [B, B] finding its own, on the diagonal.

    CRD's objective within a batch: student i among all teachers and teacher i among all students.
    With ``labels`` int64 [B], entries of another image of the same class are no negatives; those
    of ``UNLABELLED`` images are.
    """
    if labels is not None:
        same = (labels[:, None] == labels) & (labels != UNLABELLED)
        same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        logits = logits.masked_fill(same, -torch.inf)
    own = logits.diagonal()
    rows, columns = logits.logsumexp(dim=1) - own, logits.logsumexp(dim=0) - own
    return (rows.mean() + columns.mean()) / 2


def relative_text_distance(embeddings: Tensor, texts: Tensor, anchors: Tensor) -> Tensor:
    """RISE's relative distance: mean squared difference of two softmaxes over S anchors.

    Of the cosines with each row's ``anchors`` [B, S, D], of its embedding [B, D] and of its class
    text [B, D].
    """
    student = F.cosine_similarity(embeddings[:, None], anchors, dim=-1)
    teacher = F.cosine_similarity(texts[:, None], anchors, dim=-1)
    return F.mse_loss(F.softmax(student, dim=-1), F.softmax(teacher, dim=-1))


def cosine_matrix(left: Tensor, right: Tensor) -> Tensor:
    """Cosines of every row of ``left`` [M, D] with every row of ``right`` [N, D]: [M, N]."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T


def hard_sample_count(batch: int, fraction: float) -> int:
    """Number of rows of a batch to train on: ``int(batch * fraction)``, at least one."""
    return max(1, int(batch * fraction))


def hard_sample_indices(losses: Tensor, fraction: float) -> Tensor:
    """SCMD's selection: int64 indices of the largest per-sample losses [B], hardest first.

    One ranking over the whole batch, no balance over domains or classes.
    """
    return losses.topk(hard_sample_count(losses.shape[0], fraction)).indices
