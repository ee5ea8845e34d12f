"""Share of a vocabulary's probability that falls on the known names (after NegLabel)."""

from torch import Tensor, cat

from edgedistill.openset.scores.base import Score, ScoreInputs
from edgedistill.registries import SCORES


@SCORES.register("known_mass")
class KnownMass(Score):
    """Share, in [0, 1], of the softmax over known names and a vocabulary that is the known names'.

    NegLabel's score (Jiang et al. 2024, arXiv 2403.20078), without its groups of words.
    """

    summary = (
        "share of the softmax over known names and a vocabulary that falls on the known names "
        "(after NegLabel, Jiang et al. 2024), for methods that project into the teacher's space"
    )
    label = "share of the vocabulary's probability on known names"
    is_probability = True
    needs_texts = True
    needs_vocabulary = True

    def __call__(self, inputs: ScoreInputs) -> Tensor:
        assert inputs.cosines is not None and inputs.vocabulary is not None
        every = cat([inputs.cosines, inputs.vocabulary], dim=1) * inputs.logit_scale
        return every.softmax(dim=1)[:, : inputs.cosines.shape[1]].sum(dim=1)
