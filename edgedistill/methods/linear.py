"""The base of methods whose head is one linear layer."""

from __future__ import annotations

from torch import Tensor

from edgedistill.methods.base import HyperT, Method
from edgedistill.methods.heads import LinearHead


class LinearMethod(Method[HyperT, LinearHead]):
    """Training method of a student with a linear classifier; a subclass has the losses."""

    def head(
        self, feature_dim: int, num_classes: int, projection: Tensor | None = None
    ) -> LinearHead:
        return LinearHead(feature_dim, num_classes)
