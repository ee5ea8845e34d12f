"""Mixup between source domains: blends of two images and of their labels, no teacher.

"Improve Unsupervised Domain Adaptation with Mixup Training", arXiv 2001.00677, as in DomainBed
(arXiv 2007.01434): every domain of a batch is mixed with one other, at one ratio per pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import DomainMethod, Mixture, SourceRows, StudentOutput
from edgedistill.methods.domain_formulas import mixed_cross_entropy
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class MixupHyper(HyperParameters):
    """Hyper-parameters of mixup; defaults are DomainBed's."""

    alpha: float = Field(
        0.2,
        gt=0,
        le=100,
        description="Both parameters of the beta distribution of an image's share.",
        json_schema_extra=searched(0.1, 10),
    )


@METHODS.register("mixup")
class Mixup(LinearMethod[MixupHyper], DomainMethod[MixupHyper, LinearHead]):
    """Mixup of images of different source domains (arXiv 2001.00677), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = MixupHyper
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def mix(self, domains: NDArray[np.int64], rng: np.random.Generator) -> Mixture:
        order = rng.permutation(np.unique(domains))
        partners, shares = np.zeros(len(domains), np.int64), np.ones(len(domains), np.float32)
        for own, other in zip(order, np.roll(order, -1), strict=True):
            rows, others = np.flatnonzero(domains == own), np.flatnonzero(domains == other)
            partners[rows] = np.resize(others, len(rows))
            shares[rows] = rng.beta(self.hyper.alpha, self.hyper.alpha)
        return Mixture(partners, shares)

    def compute_domain_losses(
        self, head: LinearHead, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        if rows.partners is None or rows.shares is None:
            raise ValueError("method Mixup needs the partners of the rows")
        loss = mixed_cross_entropy(out.logits, labels, rows.partners, rows.shares)
        return {"loss": loss, "cross_entropy": loss}
