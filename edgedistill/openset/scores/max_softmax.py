"""Largest class probability (Hendrycks & Gimpel 2017, arXiv 1610.02136)."""

from torch import Tensor

from edgedistill.openset.scores.base import Score, ScoreInputs
from edgedistill.registries import SCORES


@SCORES.register("max_softmax")
class MaxSoftmax(Score):
    """Largest class probability, in (0, 1]."""

    summary = "largest class probability (Hendrycks & Gimpel 2017)"
    label = "largest class probability"
    is_probability = True

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        return inputs.probabilities.amax(dim=1)
