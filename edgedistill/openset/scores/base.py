"""The interface of an openness score: how much an image looks like one of the known classes.

Adding one is adding a file to ``edgedistill.openset.scores`` that registers it with `SCORES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class ScoreInputs(NamedTuple):
    """A student's answers to N images, from which a score is computed.

    Attributes:
        logits: float `[N, C]` over the known classes.
        probabilities: float `[N, C]`, their softmax.
        cosines: float `[N, P]` of the projected student with P class texts; None unless the score
            needs texts.
        vocabulary: float `[N, V]` of the projected student with V texts of other things; None
            unless the score needs a vocabulary.
        logit_scale: what the teacher multiplies cosines with before a softmax; 1 unless the score
            needs texts.
    """

    logits: Tensor
    probabilities: Tensor
    cosines: Tensor | None
    vocabulary: Tensor | None = None
    logit_scale: float = 1.0


class Score(ABC):
    """An openness score, higher for images of known classes; part of the exported graph.

    Attributes:
        summary: one line for the documentation.
        label: of an axis; the summary where it is empty.
        is_probability: whether values lie in [0, 1] and crowd at its ends, so that an axis shows
            their log-odds.
        needs_texts: whether it compares the projected student with the class texts.
        needs_vocabulary: whether it compares with texts of other things besides.
    """

    summary: ClassVar[str]
    label: ClassVar[str] = ""
    is_probability: ClassVar[bool] = False
    needs_texts: ClassVar[bool] = False
    needs_vocabulary: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, inputs: ScoreInputs) -> Tensor:
        """The score of every image, float `[N]`, by operations that ONNX has."""
