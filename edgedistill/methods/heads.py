"""Heads of students: modules from pooled features [B, d] to StudentOutput."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.methods.base import StudentOutput
from edgedistill.methods.text_bank import TextBank


class LinearHead(nn.Module):
    """One linear layer."""

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor) -> StudentOutput:
        return StudentOutput(features, self.classifier(features), None)


class CountingHead(LinearHead):
    """V-REx: a linear layer, and the number of training steps so far, int64."""

    steps: Tensor

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))


class GroupHead(LinearHead):
    """GroupDRO: a linear layer, and the logarithms of the source domains' weights.

    ``log_weights`` [MAX_GROUPS] has those of the run's domains first and is part of the state;
    ``next_log_weights`` is what they become after the step.
    """

    # A buffer has one size whatever the run: a finished head is rebuilt without its domains.
    MAX_GROUPS = 1024

    log_weights: Tensor
    next_log_weights: Tensor

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        self.register_buffer("log_weights", torch.zeros(self.MAX_GROUPS))
        self.register_buffer("next_log_weights", torch.zeros(self.MAX_GROUPS), persistent=False)


class ReciprocalPointHead(nn.Module):
    """ARPL: one reciprocal point per class, and the radius of the known classes' features.

    Logits are distances from the points over ``temperature``: mean squared difference minus inner
    product, the farther the likelier. The points start near the origin, the radius at 0.
    """

    def __init__(self, feature_dim: int, num_classes: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.points = nn.Parameter(0.1 * torch.randn(num_classes, feature_dim))
        self.radius = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> StudentOutput:
        inner = features @ self.points.T
        squares = features.square().sum(dim=1, keepdim=True) + self.points.square().sum(dim=1)
        distances = (squares - 2 * inner) / features.shape[1] - inner
        return StudentOutput(features, distances / self.temperature, None)


class TextHead(nn.Module):
    """SCI-PD and RISE: a hidden layer as wide as the teacher's embeddings, then the classifier.

    With ``texts`` [C, D] unit-norm, the classifier's rows start as the class texts; with
    ``projection`` [D, d], the hidden layer starts as that map into their space, without offset.
    ``rectified`` puts a ReLU between the two (SCI-PD's).
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        width: int,
        texts: Tensor | None,
        projection: Tensor | None = None,
        *,
        rectified: bool = True,
    ) -> None:
        super().__init__()
        self.rectified = rectified
        self.hidden = nn.Linear(feature_dim, width)
        if projection is not None:
            with torch.no_grad():
                self.hidden.weight.copy_(projection)
                self.hidden.bias.zero_()
        self.classifier = nn.Linear(width, num_classes)
        if texts is not None:
            if texts.shape != self.classifier.weight.shape:
                raise ValueError(
                    f"class texts are {tuple(texts.shape)}, "
                    f"the classifier needs {tuple(self.classifier.weight.shape)}"
                )
            with torch.no_grad():
                self.classifier.weight.copy_(texts)

    def forward(self, features: Tensor) -> StudentOutput:
        hidden = self.hidden(features)
        # The classifier's rows are texts, so what meets them is an embedding too.
        projected = F.normalize(hidden.float(), dim=-1)
        logits = self.classifier(F.relu(hidden) if self.rectified else hidden)
        return StudentOutput(features, logits, projected)


class RegressorHead(nn.Module):
    """FitNet: a classifier, and a regressor to the teacher's embedding that training alone uses.

    With ``projection`` [D, d], the regressor starts there, without offset.
    """

    def __init__(
        self, feature_dim: int, num_classes: int, width: int, projection: Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)
        self.regressor = nn.Linear(feature_dim, width)
        if projection is not None:
            with torch.no_grad():
                self.regressor.weight.copy_(projection)
                self.regressor.bias.zero_()

    def forward(self, features: Tensor) -> StudentOutput:
        return StudentOutput(features, self.classifier(features), None)


class ContrastHead(nn.Module):
    """CRD: a classifier, and two maps into one space that training alone uses.

    ``student_embedding`` maps features [B, d], ``teacher_embedding`` the teacher's [B, D].
    """

    def __init__(self, feature_dim: int, num_classes: int, teacher_width: int, width: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)
        self.student_embedding = nn.Linear(feature_dim, width)
        self.teacher_embedding = nn.Linear(teacher_width, width)

    def forward(self, features: Tensor) -> StudentOutput:
        return StudentOutput(features, self.classifier(features), None)


class ProjectorHead(nn.Module):
    """A projection into the teacher's space that starts at ``projection``, and no classifier."""

    def __init__(self, feature_dim: int, width: int, projection: Tensor | None = None) -> None:
        super().__init__()
        self.projector = nn.Linear(feature_dim, width, bias=False)
        if projection is not None:
            with torch.no_grad():
                self.projector.weight.copy_(projection)

    def forward(self, features: Tensor) -> StudentOutput:
        projected = F.normalize(self.projector(features).float(), dim=-1)
        return StudentOutput(features, projected.new_zeros(len(features), 0), projected)


class EmbeddingHead(nn.Module):
    """A classifier, and a projection into the teacher's space that starts at ``projection``."""

    def __init__(
        self, feature_dim: int, num_classes: int, width: int, projection: Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)
        self.projector = nn.Linear(feature_dim, width, bias=False)
        if projection is not None:
            with torch.no_grad():
                self.projector.weight.copy_(projection)

    def forward(self, features: Tensor) -> StudentOutput:
        # The norm of a half-precision projection would lose the unit length the scores rely on.
        projected = F.normalize(self.projector(features).float(), dim=-1)
        return StudentOutput(features, self.classifier(features), projected)


class ProjectionHead(EmbeddingHead):
    """SCMD: a classifier, a projection into the teacher's space and a learnable log-scale.

    With ``projection`` [D, d], the projector starts there.
    """

    INITIAL_LOG_SCALE = math.log(1 / 0.07)
    MAX_LOG_SCALE = math.log(100.0)

    def __init__(
        self, feature_dim: int, num_classes: int, width: int, projection: Tensor | None = None
    ) -> None:
        super().__init__(feature_dim, num_classes, width, projection)
        self.log_scale = nn.Parameter(torch.full((1,), self.INITIAL_LOG_SCALE))


class TextCosineHead(nn.Module):
    """VL2V: a projection into the teacher's space, classified by its cosines with class texts.

    With ``projection`` [D, d], the projector starts there. The texts are not trained.
    """

    texts: Tensor
    scale: Tensor

    def __init__(self, feature_dim: int, text: TextBank, projection: Tensor | None = None) -> None:
        super().__init__()
        # Part of the state: texts read from a finished run have no logit scale.
        self.register_buffer("scale", torch.tensor(float(text.logit_scale)))
        self.projector = nn.Linear(feature_dim, text.pooled.shape[1], bias=False)
        if projection is not None:
            with torch.no_grad():
                self.projector.weight.copy_(projection)
        self.register_buffer("texts", _grouped(text))

    def forward(self, features: Tensor) -> StudentOutput:
        projected = F.normalize(self.projector(features).float(), dim=-1)
        cosines = projected @ self.texts.flatten(0, 1).T
        best = cosines.unflatten(1, self.texts.shape[:2]).amax(dim=2)
        return StudentOutput(features, self.scale * best, projected)


class PromptedHead(nn.Module):
    """The projection of a trained head, compared with the texts of any classes.

    Logits are cosines of the projection with the classes' texts times the texts' logit scale, as
    CLIP classifies (Radford et al. 2021, arXiv 2103.00020). The trained head's own classifier is
    not used.

    Args:
        head: from features to a StudentOutput with a projection.
        text: texts of C classes in the space that the head projects into.
    """

    texts: Tensor

    def __init__(self, head: nn.Module, text: TextBank) -> None:
        super().__init__()
        self.head = head
        self.scale = text.logit_scale
        self.register_buffer("texts", _grouped(text))

    def forward(self, features: Tensor) -> StudentOutput:
        """Outputs for features `[B, d]`. Raises ValueError where the head does not project."""
        out: StudentOutput = self.head(features)
        if out.projected is None:
            raise ValueError("the head does not project into the teacher's space")
        cosines = out.projected @ self.texts.flatten(0, 1).T
        best = cosines.unflatten(1, self.texts.shape[:2]).amax(dim=2)
        return StudentOutput(features, self.scale * best, out.projected)


def _grouped(text: TextBank) -> Tensor:
    """References of each class `[C, M, D]`; a class of fewer than M has its first repeated."""
    if text.pool == "mean":
        return text.pooled[:, None]
    rows = [text.names[text.owner == number] for number in range(len(text.pooled))]
    most = max(map(len, rows))
    padded = [torch.cat([part, part[:1].expand(most - len(part), -1)]) for part in rows]
    return torch.stack(padded)
