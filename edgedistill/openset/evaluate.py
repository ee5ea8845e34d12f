"""Every metric of a run from one pass over the student's outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from edgedistill.errors import TrainingError
from edgedistill.openset import metrics, scores


@dataclass(frozen=True)
class Outputs:
    """What a student says about N images.

    `logits` float [N, K] over the known classes; `cosines` float [N, K] to the class texts, or
    None if the method does not project into CLIP space; `labels` int64 [N], -1 = unknown.

    Raises: ValueError when the shapes disagree; EdgeDistillError when an output is not finite.
    """

    logits: NDArray[np.floating]
    cosines: NDArray[np.floating] | None
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.labels.shape != self.logits.shape[:1]:
            raise ValueError(f"logits {self.logits.shape} do not fit labels {self.labels.shape}")
        if self.cosines is not None and self.cosines.shape != self.logits.shape:
            raise ValueError(f"cosines {self.cosines.shape} do not fit logits {self.logits.shape}")
        if self.labels.size and not -1 <= self.labels.min() <= self.labels.max() < self.classes:
            raise ValueError(f"labels must lie in -1..{self.classes - 1}")
        for array in (self.logits, self.cosines):
            if array is not None and not np.isfinite(array).all():
                bad = int((~np.isfinite(array).all(axis=1)).sum())
                raise TrainingError(
                    f"the student's outputs are not finite for {bad} of {len(array)} images; "
                    "training has diverged: lower the learning rate and train again"
                )

    @property
    def classes(self) -> int:
        """Number of known classes, K."""
        return int(self.logits.shape[1])

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Arg-max class of every image without rejection, int64 [N]."""
        return self.logits.argmax(axis=1).astype(np.int64)

    def score(self, name: str) -> NDArray[np.float64]:
        """Score `name` of every image, float64 [N]."""
        return scores.compute(name, self.logits, self.cosines)


def evaluate(
    outputs: Outputs, *, score: str, threshold: float, known: Sequence[str]
) -> dict[str, Any]:
    """All metrics of `outputs` under the rule "accept if score >= threshold", ready for JSON.

    `known` names the K known classes in label order. Every rate is a share in [0, 1], or None
    when there are no images it could speak about (open-set metrics need both known and unknown):

    accuracy: closed-set, known images only. h_score: deployed, at `threshold`. oracle_h_score and
    grid_mean_h_score: maximum and mean over the ten thresholds of the HDG protocol on max softmax.
    best_h_score: maximum over all thresholds of this score. The three read the target's labels.
    auroc, fpr95, oscr, known_acceptance, unknown_rejection: see `edgedistill.openset.metrics`.
    images_known, images_unknown: counts. per_class: rows of `metrics.per_class`.

    Raises: EdgeDistillError for a score that cannot be computed.
    """
    if len(known) != outputs.classes:
        raise ValueError(f"{len(known)} class names for {outputs.classes} logits")
    value = outputs.score(score)
    predictions = outputs.predictions
    is_known = outputs.labels >= 0
    correct = predictions == outputs.labels
    accepted = value >= threshold
    grid = metrics.seed_grid_h_scores(
        softmax(outputs.logits.astype(np.float64), axis=1), outputs.labels, outputs.classes
    )
    return {
        "accuracy": metrics.closed_set_accuracy(predictions, outputs.labels),
        "h_score": metrics.deployed_h_score(value, correct, is_known, threshold),
        "oracle_h_score": None if grid is None else float(grid.max()),
        "grid_mean_h_score": None if grid is None else float(grid.mean()),
        "best_h_score": metrics.best_h_score(value, correct, is_known),
        "auroc": metrics.auroc(value, is_known),
        "fpr95": metrics.fpr95(value, is_known),
        "oscr": metrics.oscr(value, correct, is_known),
        "known_acceptance": metrics.known_keep_rate(value, is_known, threshold),
        "unknown_rejection": metrics.unknown_reject_rate(value, is_known, threshold),
        "images_known": int(is_known.sum()),
        "images_unknown": int((~is_known).sum()),
        "per_class": metrics.per_class(predictions, outputs.labels, accepted, known),
    }
