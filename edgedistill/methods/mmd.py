"""MMD: features of equal distribution in all source domains, no teacher.

"Learning Transferable Features with Deep Adaptation Networks", arXiv 1502.02791, ICML 2015; between
the source domains, as MMD-AAE ("Domain Generalization with Adversarial Feature Learning", CVPR
2018) without its autoencoder and adversary, with DomainBed's kernels (arXiv 2007.01434).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from edgedistill.methods.authors_code import DOMAINBED_BASELINE
from edgedistill.methods.base import DomainMethod, SourceRows, StudentOutput
from edgedistill.methods.domain_formulas import gaussian_mmd
from edgedistill.methods.heads import LinearHead
from edgedistill.methods.hyper import HyperParameters, searched
from edgedistill.methods.linear import LinearMethod
from edgedistill.registries import METHODS


class MMDHyper(HyperParameters):
    """Hyper-parameters of MMD; defaults are DomainBed's."""

    weight: float = Field(
        1.0,
        ge=0,
        le=1000,
        description="Weight of the maximum mean discrepancy between the domains.",
        json_schema_extra=searched(0.1, 10),
    )


@METHODS.register("mmd")
class MMD(LinearMethod[MMDHyper], DomainMethod[MMDHyper, LinearHead]):
    """Maximum mean discrepancy between source domains (MMD, arXiv 1502.02791), no teacher."""

    Hyper: ClassVar[type[HyperParameters]] = MMDHyper
    authors_recipe: ClassVar[Mapping[str, Any]] = DOMAINBED_BASELINE

    def compute_domain_losses(
        self, head: LinearHead, out: StudentOutput, labels: Tensor, rows: SourceRows
    ) -> dict[str, Tensor]:
        hard = F.cross_entropy(out.logits, labels)
        discrepancy = gaussian_mmd(out.features, rows.domains, rows.num_domains)
        return {
            "loss": hard + self.hyper.weight * discrepancy,
            "cross_entropy": hard,
            "discrepancy": discrepancy,
        }
