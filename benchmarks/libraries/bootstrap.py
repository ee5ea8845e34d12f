"""Seconds of 2,000 resamples of every metric: vectorized here, per resample, and by scipy.

    python -m benchmarks.libraries.bootstrap

Answers of a made-up model with 16 classes to some images, three quarters of them of known classes.
`vectorized` is `edgedistill.bench.bootstrap.resample`; `per_resample` calls
`edgedistill.openset.compute_metrics` (scikit-learn) on the images of each resample, timed over a
few of them; `scipy` draws with `scipy.stats.bootstrap` (percentile method) and computes the metrics
as `vectorized` does.
"""

import argparse
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray
from scipy.stats import bootstrap

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.bootstrap import RESAMPLES, Scored, metrics_of_counts, resample
from edgedistill.openset import compute_metrics

CLASSES = 16
THRESHOLD = 0.5
SIZES = (240, 2000, 20000)
# Resamples that the slow way is timed over.
TIMED = 30


def answers(images: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities `[N, CLASSES]` and labels `[N]`, -1 for unknown."""
    rng = np.random.default_rng(0)
    known = images * 3 // 4
    labels = np.full(images, -1)
    labels[:known] = rng.integers(CLASSES, size=known)
    return rng.dirichlet(np.full(CLASSES, 0.3), images), labels


def vectorized(model: Scored) -> None:
    resample([model])


def per_resample(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)]
    for _ in range(TIMED):
        rows = np.concatenate([rng.choice(group, len(group)) for group in groups])
        drawn = probabilities[rows]
        compute_metrics(drawn.argmax(1), drawn.max(1), drawn, labels[rows], THRESHOLD)


def by_scipy(model: Scored, batch: int) -> None:
    images = len(model.known)

    def statistic(*groups: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        rows = np.atleast_2d(np.concatenate(groups, axis=axis))
        flat = (rows + np.arange(len(rows))[:, None] * images).ravel()
        counts = np.bincount(flat, minlength=len(rows) * images).reshape(-1, images)
        values = np.stack(list(metrics_of_counts(model, counts).values()))
        return values if groups[0].ndim > 1 else values[:, 0]

    groups = (np.flatnonzero(model.known), np.flatnonzero(~model.known))
    bootstrap(
        groups, statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile", batch=batch
    )


def seconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(images: int, rounds: int) -> dict[str, float]:
    """Median seconds of 2,000 resamples over interleaved rounds."""
    probabilities, labels = answers(images)
    model = Scored(
        known=labels >= 0,
        correct=probabilities.argmax(1) == labels,
        score=probabilities.max(1),
        lowest=probabilities.min(1),
        highest=probabilities.max(1),
        threshold=THRESHOLD,
    )
    times: dict[str, list[float]] = {"vectorized": [], "per_resample": [], "scipy": []}
    for _ in range(rounds):
        times["vectorized"].append(seconds(lambda: vectorized(model)))
        slow = seconds(lambda: per_resample(probabilities, labels))
        times["per_resample"].append(slow * RESAMPLES / TIMED)
        times["scipy"].append(seconds(lambda: by_scipy(model, max(1, 2_000_000 // images))))
    return {way: round(median(values), 3) for way, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of a bootstrap of every metric.")
    parser.add_argument("--rounds", type=whole(1, 100), default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("bootstrap.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {
        "versions": {m.__name__: m.__version__ for m in (np, scipy, sklearn)},
        "machine": platform.machine(),
        "resamples": RESAMPLES,
        "seconds": {},
    }
    for images in SIZES:
        record["seconds"][str(images)] = measure(images, options.rounds)
        print(images, record["seconds"][str(images)], flush=True)
    write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
