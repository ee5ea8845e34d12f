"""The formulas of the methods, as pure functions of tensors.

Everything here is branch-free and never reads a tensor back to the host, so a training step
stays asynchronous on an accelerator. All functions work in the dtype they are given.

Sources: SCI-PD, "Hybrid Domain Generalization" (arXiv 2404.09011, CVPR 2024); SCMD, "Selective
Cross-Modality Distillation" (arXiv 2311.15145, TMLR 2024); knowledge distillation
(arXiv 1503.02531).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(cosines: Tensor, scale: float, *, half: bool = False) -> Tensor:
    """CLIP's class probabilities: ``softmax(scale * cosines)`` over the last axis.

    ``cosines`` is [B, C]; the result has its dtype. ``half`` evaluates the product and the softmax
    in float16, as the SCI-PD authors' teacher does on CUDA; small probabilities then underflow.
    """
    if half:
        return F.softmax(cosines.half() * scale, dim=-1).to(cosines.dtype)
    return F.softmax(cosines * scale, dim=-1)


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
