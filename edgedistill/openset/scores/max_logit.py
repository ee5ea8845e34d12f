"""Largest logit (Hendrycks et al. 2022, arXiv 1911.11132)."""

from torch import Tensor

from edgedistill.openset.scores.base import Score, ScoreInputs
from edgedistill.registries import SCORES


@SCORES.register("max_logit")
class MaxLogit(Score):
    """Largest logit."""

    summary = "largest logit (Hendrycks et al. 2022)"
    label = "largest logit"

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        return inputs.logits.amax(dim=1)
