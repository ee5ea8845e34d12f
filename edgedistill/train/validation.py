"""The validation of a run: closed-set accuracy on source images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.images import LabelledImages
from edgedistill.openset import Outputs
from edgedistill.openset.head import OpenSetHead
from edgedistill.openset.metrics import closed_set_accuracy
from edgedistill.students import Student
from edgedistill.train.context import TrainContext
from edgedistill.train.predict import label_losses, predict


@dataclass(frozen=True)
class SourceValidation:
    """Validator of a run: accuracy on source-validation images, the mean over the domains.

    Attributes:
        openset: what stands before and behind the student.
        images: with their domains.
        views: parameters of the view of each image to validate on, None: whole images.
    """

    openset: OpenSetHead
    images: LabelledImages
    views: NDArray[np.float32] | None = None

    @property
    def figure(self) -> str:
        return "val_accuracy"

    def __call__(self, context: TrainContext, student: Student) -> dict[str, float]:
        """The share of right answers, and for SWAD their mean cross-entropy, "val_loss".

        Raises DivergedError where an output is not finite.
        """
        options: dict[str, Any] = {
            "device": context.device,
            "channels_last": context.settings.channels_last,
            "batch": 256,
            "processes": context.processes,
            "views": self.views,
            "size": context.size,
        }
        outputs = predict(student, self.openset, self.images, **options)
        figures = {self.figure: _mean_over_domains(outputs, self.images.domains)}
        if context.settings.average == "swad":
            losses = label_losses(student, self.openset, self.images, **options)
            of_domains = [losses[rows].mean() for rows in self.images.domains if len(rows)]
            figures["val_loss"] = float(np.mean(of_domains))
        return figures

    def standard_error(self, value: float) -> float:
        """Of a mean over the domains of accuracies that are each about `value`."""
        shares = [value * (1 - value) / len(rows) for rows in self.images.domains if len(rows)]
        return math.sqrt(sum(shares)) / max(1, len(shares))


def _mean_over_domains(outputs: Outputs, domains: Sequence[NDArray[np.int64]]) -> float:
    """Accuracy averaged over source domains, so that none counts for its size."""
    accuracies = [
        closed_set_accuracy(outputs.predictions[rows], outputs.labels[rows]) or 0.0
        for rows in domains
    ]
    return float(np.mean(accuracies))
