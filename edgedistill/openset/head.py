"""The open-set head: what stands before and behind a student when it is evaluated and shipped."""

import math
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, amax, amin, argmax, nn

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD, Channels
from edgedistill.data.pixels import to_chw_float
from edgedistill.errors import RecipeError
from edgedistill.openset.scores.base import ScoreInputs
from edgedistill.registries import SCORES
from edgedistill.runtime.contract import UNKNOWN_LABEL


class OpenSetOutput(NamedTuple):
    """Answers to N images.

    Attributes:
        label: int64 `[N]`, the class of the largest logit, -1 where score < threshold.
        score: float32 `[N]`, higher is more known.
        probabilities: float32 `[N, C]` over the known classes.
    """

    label: Tensor
    score: Tensor
    probabilities: Tensor

    def condensed(self) -> tuple[Tensor, ...]:
        """Label and score, and class of the largest, largest and smallest probability: all `[N]`.

        C times smaller, for what is kept of many images; see `metrics.ProbabilityRange`.
        """
        top, highest, lowest = (f(self.probabilities, 1) for f in (argmax, amax, amin))
        return self.label, self.score, top, highest, lowest


class ScoreTexts(Protocol):
    """What scores read of a text bank, see `OpenSetHead`."""

    @property
    def references(self) -> Tensor: ...
    @property
    def vocabulary(self) -> Tensor | None: ...
    @property
    def logit_scale(self) -> float: ...


class OpenSetHead(nn.Module):
    """Pixel normalization before a student; score, threshold and label behind it.

    The same module is evaluated, calibrated and exported, so that what is measured is what ships.

    Args:
        score: a name in the registry of scores.
        mean, std: the student's normalization of pixels in 0..1, ImageNet's unless given.
        texts: unit-norm float `[P, D]`, embeddings to compare the projected student with; only
            scores that need texts read them.
        vocabulary: unit-norm float `[V, D]`, embeddings of the texts of other things; only scores
            that need a vocabulary read them.
        logit_scale: factor of the cosines in a score's softmax.
        threshold: images of a lower score are unknown; nothing is rejected until one is given.

    Raises:
        RecipeError: an unknown score, or one that needs texts or a vocabulary where there
            is none.
    """

    shift: Tensor
    scale: Tensor
    threshold: Tensor
    texts: Tensor
    vocabulary: Tensor

    def __init__(
        self,
        score: str,
        *,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
        texts: Tensor | None = None,
        vocabulary: Tensor | None = None,
        logit_scale: float = 1.0,
        threshold: float = -math.inf,
    ) -> None:
        super().__init__()
        self.score_name = score
        self.mean, self.std = mean, std
        self.logit_scale = logit_scale
        self._score = SCORES[score]()
        pixel_mean, pixel_std = (255 * torch.tensor(v, dtype=torch.float64) for v in (mean, std))
        self.register_buffer("shift", pixel_mean.float()[:, None, None])
        self.register_buffer("scale", (1 / pixel_std).float()[:, None, None])
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float32))
        if self._score.needs_texts:
            if texts is None:
                raise _needs_projection(score)
            self.register_buffer("texts", texts.T.contiguous())
        if self._score.needs_vocabulary:
            if vocabulary is None:
                raise _needs_projection(score)
            self.register_buffer("vocabulary", vocabulary.T.contiguous())

    @classmethod
    def with_texts(
        cls,
        score: str,
        text: ScoreTexts | None,
        *,
        mean: Channels,
        std: Channels,
        threshold: float = -math.inf,
    ) -> Self:
        """A head whose score reads the texts of a bank; None where there is none."""
        if text is None:
            return cls(score, mean=mean, std=std, threshold=threshold)
        return cls(
            score,
            mean=mean,
            std=std,
            texts=text.references,
            vocabulary=text.vocabulary,
            logit_scale=text.logit_scale,
            threshold=threshold,
        )

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 RGB `[N, S, S, 3]` to what the student is fed, float32 `[N, 3, S, S]`."""
        normalized: Tensor = (to_chw_float(images) - self.shift) * self.scale
        return normalized

    def forward(
        self, logits: Tensor, projected: Tensor | None, threshold: Tensor | None = None
    ) -> OpenSetOutput:
        """A student's outputs to answers.

        Args:
            logits: float `[N, C]` over the known classes.
            projected: unit-norm float `[N, D]`, None from methods that do not project.
            threshold: scalar that replaces the module's own.

        Raises:
            RecipeError: the score needs a projection and there is none.
        """
        probabilities = logits.softmax(dim=1)
        cosines = vocabulary = None
        if self._score.needs_texts:
            if projected is None:
                raise _needs_projection(self.score_name)
            cosines = projected @ self.texts
            if self._score.needs_vocabulary:
                vocabulary = projected @ self.vocabulary
        inputs = ScoreInputs(logits, probabilities, cosines, vocabulary, self.logit_scale)
        score = self._score(inputs)
        best = logits.argmax(dim=1)
        limit = self.threshold if threshold is None else threshold
        return OpenSetOutput(torch.where(score >= limit, best, UNKNOWN_LABEL), score, probabilities)


def _needs_projection(score: str) -> RecipeError:
    available = ", ".join(name for name, entry in SCORES.items() if not entry.needs_texts)
    return RecipeError(
        f"the score {score} needs class texts and a method that projects into the teacher's space; "
        f"scores available without: {available}"
    )
