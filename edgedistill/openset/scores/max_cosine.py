"""Largest cosine with a class text, as zero-shot CLIP classifies (Radford et al. 2021)."""

from torch import Tensor

from edgedistill.openset.scores.base import Score, ScoreInputs
from edgedistill.registries import SCORES


@SCORES.register("max_cosine")
class MaxCosine(Score):
    """Largest cosine between the student's projection and a class text, in [-1, 1]."""

    summary = "largest cosine with a class text, for methods that project into the teacher's space"
    label = "largest cosine with a class text"
    needs_texts = True

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        assert inputs.cosines is not None
        return inputs.cosines.amax(dim=1)
