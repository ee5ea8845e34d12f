"""CORAL: features of equal mean and covariance in all source domains, no teacher.

"Deep CORAL: Correlation Alignment for Deep Domain Adaptation", arXiv 1607.01719, ECCV 2016
workshops, between the source domains as in DomainBed (arXiv 2007.01434), which adds the means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import DomainMethod, SourceRows, StudentOutput
from edgedistill.methods.domain_formulas import coral_distance
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class CORALHyper(HyperParameters):
    """Hyper-parameters of CORAL; defaults are DomainBed's."""

    weight: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the distance between the domains' means and covariances.",
        json_schema_extra=searched(0.1, 10),
    )


@METHODS.register("coral")
class CORAL(LinearMethod[CORALHyper], DomainMethod[CORALHyper, LinearHead]):
    """Correlation alignment between source domains (CORAL, arXiv 1607.01719), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = CORALHyper
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def compute_domain_losses(
        self, head: LinearHead, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        hard = F.cross_entropy(out.logits, labels)
        alignment = coral_distance(out.features, rows.domains, rows.num_domains)
        return {
            "loss": hard + self.hyper.weight * alignment,
            "cross_entropy": hard,
            "alignment": alignment,
        }
