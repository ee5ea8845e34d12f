"""Metrics of an exported file on the run's images, and the comparison of int8 with fp32."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ExportRefused
from edgedistill.export.session import ModelOutputs
from edgedistill.openset import compute_metrics


@dataclass(frozen=True)
class MetricDrop:
    """One rate of the int8 file beside the fp32 file's; None where there are no such images."""

    name: str
    fp32: float | None
    int8: float | None

    @property
    def drop(self) -> float:
        """The share that int8 loses, 0 when it gains."""
        if self.fp32 is None or self.int8 is None:
            return 0.0
        return max(0.0, self.fp32 - self.int8)


def measure_answers(
    answers: ModelOutputs, labels: NDArray[np.int64], threshold: float
) -> dict[str, Any]:
    """`edgedistill.openset.compute_metrics` of a file's answers.

    `labels` are the known labels int64 [N], -1 for unknown. Rates are shares, None where there are
    no images they could speak about.
    """
    predictions = answers.probabilities.argmax(axis=1)
    return compute_metrics(predictions, answers.score, answers.probabilities, labels, threshold)


def compare_metrics(fp32: dict[str, Any], int8: dict[str, Any]) -> list[MetricDrop]:
    """The rates the budget is about, of both files on the same images."""
    names = {"accuracy": "accuracy", "known keep rate": "known_acceptance", "H-score": "h_score"}
    return [MetricDrop(name, fp32[key], int8[key]) for name, key in names.items()]


def within(drops: Sequence[MetricDrop], max_drop: float) -> bool:
    """Whether no rate drops by more than `max_drop`."""
    # A drop of exactly the budget must not fail by the last bit of a difference.
    return all(rate.drop <= max_drop + 1e-9 for rate in drops)


def refuse_metric_drop(drops: Sequence[MetricDrop], max_drop: float) -> None:
    """Raise ExportRefused with the numbers when a rate drops by more than `max_drop`."""
    if within(drops, max_drop):
        return
    rates = ", ".join(
        f"{rate.name} {100 * (rate.fp32 or 0):.1f} % -> {100 * (rate.int8 or 0):.1f} %"
        for rate in drops
        if rate.fp32 is not None
    )
    raise ExportRefused(
        f"int8 loses more than the {100 * max_drop:.1f} points allowed on source validation: "
        f"{rates}; nothing was written; ship the fp32 file, or allow more with --max-drop",
        {rate.name: (rate.fp32, rate.int8) for rate in drops},
    )
