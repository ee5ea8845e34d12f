"""A student's answers as arrays, and every metric of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DivergedError
from edgedistill.openset.metrics import (
    ProbabilityRange,
    class_thirds,
    compute_metrics,
    per_class,
)


@dataclass(frozen=True)
class Outputs:
    """Answers of an `OpenSetHead` to N images, before rejection.

    Attributes:
        predictions: int64 `[N]`, class of the largest logit.
        scores: float32 `[N]`, higher is more known.
        probabilities: range of the float32 probabilities `[N, C]` over the known classes.
        labels: int64 `[N]`, -1 for images of unknown classes.

    Raises:
        ValueError: the shapes disagree.
        TrainingError: a score or a probability is not finite.
    """

    predictions: NDArray[np.int64]
    scores: NDArray[np.floating]
    probabilities: ProbabilityRange
    labels: NDArray[np.int64]

    @classmethod
    def empty(cls, classes: int) -> "Outputs":
        """Answers to no image."""
        nothing, no_score = np.zeros(0, np.int64), np.zeros(0, np.float32)
        probabilities = ProbabilityRange(nothing, no_score, no_score, classes)
        return cls(nothing, no_score, probabilities, nothing)

    def joined(self, other: "Outputs") -> "Outputs":
        """These answers, and those of the same head to other images behind them."""
        own, others = self.probabilities, other.probabilities
        return Outputs(
            np.concatenate([self.predictions, other.predictions]),
            np.concatenate([self.scores, other.scores]),
            ProbabilityRange(
                np.concatenate([own.top, others.top]),
                np.concatenate([own.highest, others.highest]),
                np.concatenate([own.lowest, others.lowest]),
                own.classes,
            ),
            np.concatenate([self.labels, other.labels]),
        )

    def __post_init__(self) -> None:
        *arrays, classes = self.probabilities
        shapes = [array.shape for array in (self.predictions, self.scores, *arrays, self.labels)]
        if self.labels.ndim != 1 or len(set(shapes)) > 1:
            raise ValueError(
                f"predictions, scores, range of probabilities and labels of shapes {shapes} do not "
                "fit"
            )
        if self.labels.size and not -1 <= self.labels.min() <= self.labels.max() < classes:
            raise ValueError(f"labels must lie in -1..{classes - 1}")
        finite = np.isfinite(self.scores)
        finite &= np.isfinite(self.probabilities.highest) & np.isfinite(self.probabilities.lowest)
        if not finite.all():
            raise DivergedError(
                f"the student's outputs are not finite for {int((~finite).sum())} of "
                f"{len(finite)} images; training has diverged: lower the learning rate and train "
                "again"
            )


def evaluate(
    outputs: Outputs,
    *,
    threshold: float,
    known: Sequence[str],
    training: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """`compute_metrics` of some outputs, and under "per_class" the rows of `metrics.per_class`.

    `known` names the C known classes in label order; `training` int `[C]` has the images that each
    was trained on, and adds the rows of `metrics.class_thirds` under "class_thirds". Raises
    ValueError when `known` has another length.
    """
    classes = outputs.probabilities.classes
    if len(known) != classes:
        raise ValueError(f"{len(known)} class names for {classes} probabilities")
    accepted = outputs.scores >= threshold
    metrics = {
        **compute_metrics(
            outputs.predictions, outputs.scores, outputs.probabilities, outputs.labels, threshold
        ),
        "per_class": per_class(outputs.predictions, outputs.labels, accepted, known),
    }
    if training is not None:
        metrics["class_thirds"] = class_thirds(
            outputs.predictions, outputs.scores, outputs.labels, training, known
        )
    return metrics
