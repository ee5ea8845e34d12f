"""Quality of contenders under one threshold rule, and the share of another's of each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.bench.bootstrap import Scored, interval, resample
from edgedistill.bench.result import Interval, QualityMetric
from edgedistill.export.measure import measure_answers
from edgedistill.export.session import ModelOutputs
from edgedistill.openset import calibrate

COMPARED: tuple[QualityMetric, ...] = ("accuracy", "h_score", "auroc")


def evaluate(
    validation: ModelOutputs,
    target: ModelOutputs,
    labels: NDArray[np.int64],
    target_keep_rate: float,
) -> tuple[dict[str, Any], Scored]:
    """Metrics on the target at the threshold that keeps `target_keep_rate` of source validation.

    `labels` are the target's: known labels int64 [N], -1 for unknown.
    """
    threshold = calibrate(validation.score, target_keep_rate)
    scored = Scored(
        known=labels >= 0,
        correct=target.probabilities.argmax(axis=1) == labels,
        score=target.score.astype(np.float64),
        lowest=target.probabilities.min(axis=1).astype(np.float64),
        highest=target.probabilities.max(axis=1).astype(np.float64),
        threshold=threshold,
    )
    return {**measure_answers(target, labels, threshold), "threshold": threshold}, scored


def shares_of(
    scored: Mapping[str, Scored], whole: str, figures: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[QualityMetric, Interval]]:
    """Every contender's figures over those of `whole`, with paired bootstrap 95 % intervals.

    `scored` are answers to the same images; `figures` the metrics of each that `evaluate` returns.
    A figure that is None or 0 for `whole` has no share.
    """
    names = list(scored)
    samples = dict(zip(names, resample([scored[name] for name in names]), strict=True))
    shares: dict[str, dict[QualityMetric, Interval]] = {}
    for name in names:
        shares[name] = {}
        for metric in COMPARED:
            mine, base = figures[name][metric], figures[whole][metric]
            if mine is None or not base:
                shares[name][metric] = interval(None, None)
                continue
            below = samples[whole][metric]
            ratio = samples[name][metric] / np.where(below > 0, below, np.nan)
            shares[name][metric] = interval(mine / base, ratio[np.isfinite(ratio)])
    return shares
