"""Heads of students: modules from pooled features [B, d] to StudentOutput."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.methods.base import StudentOutput


class LinearHead(nn.Module):
    """One linear layer."""

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)

    def forward(self, features: Tensor) -> StudentOutput:
        return StudentOutput(features, self.classifier(features), None)


class TextHead(nn.Module):
    """SCI-PD: a hidden layer as wide as the teacher's text embeddings, then the classifier.

    With ``texts`` [C, D] unit-norm, the classifier's rows start as the class texts; with
    ``projection`` [D, d], the hidden layer starts as that map into their space, without offset.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        width: int,
        texts: Tensor | None,
        projection: Tensor | None = None,
    ) -> None:
        super().__init__()
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
        return StudentOutput(features, self.classifier(F.relu(hidden)), projected)


class ProjectionHead(nn.Module):
    """SCMD: a classifier, a projection into the teacher's space and a learnable log-scale.

    With ``projection`` [D, d], the projector starts there.
    """

    INITIAL_LOG_SCALE = math.log(1 / 0.07)
    MAX_LOG_SCALE = math.log(100.0)

    def __init__(
        self, feature_dim: int, num_classes: int, width: int, projection: Tensor | None = None
    ) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes)
        self.projector = nn.Linear(feature_dim, width, bias=False)
        if projection is not None:
            with torch.no_grad():
                self.projector.weight.copy_(projection)
        self.log_scale = nn.Parameter(torch.full((1,), self.INITIAL_LOG_SCALE))

    def forward(self, features: Tensor) -> StudentOutput:
        # The norm of a half-precision projection would lose the unit length the scores rely on.
        projected = F.normalize(self.projector(features).float(), dim=-1)
        return StudentOutput(features, self.classifier(features), projected)
