"""Negative free energy (Liu et al. 2020, arXiv 2010.03759)."""

from torch import Tensor

from edgedistill.openset.scores.base import Score, ScoreInputs
from edgedistill.registries import SCORES


@SCORES.register("energy")
class Energy(Score):
    """log(sum(exp(logits))), temperature 1, with the sign that makes higher mean more known."""

    summary = "negative free energy, log(sum(exp(logits))) (Liu et al. 2020)"
    label = "energy (log-sum-exp of the logits)"

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        return inputs.logits.logsumexp(dim=1)
