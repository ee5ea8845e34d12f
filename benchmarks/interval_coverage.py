"""Coverage of the 95 % intervals of `edgedistill bench`, on simulated answers of a model.

    python -m benchmarks.interval_coverage            # interval_coverage.json and the table of
    python -m benchmarks.interval_coverage --render   # docs/explanation/measurement.md; only that

A known image scores normal(2, 1) and is named right with a chance of 3/4, an unknown one scores
normal(0, 1); accepted is what scores 1 or more. The truth is the figure on 200,000 images.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.bootstrap import Scored, interval, resample
from edgedistill.bench.result import QualityMetric
from edgedistill.export.measure import measure_answers
from edgedistill.export.session import ModelOutputs

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")
MARK = "<!-- coverage -->"
FIGURES: dict[QualityMetric, str] = {
    "h_score": "H-score",
    "best_h_score": "best threshold",
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "oscr": "OSCR",
}
SIZES = ((10, 10), (20, 200), (40, 40), (200, 320))
THRESHOLD = 1.0


def answers(rng: np.random.Generator, known: int, unknown: int) -> tuple[ModelOutputs, Scored]:
    """Drawn answers to so many images, as both of bench's functions take them."""
    shown = np.arange(known + unknown) < known
    score = rng.normal(size=len(shown)) + 2 * shown
    largest = 1 / (1 + np.exp(-np.abs(score)))
    right = rng.random(len(shown)) < 0.75
    pair = np.stack([largest, 1 - largest], axis=1)
    drawn = ModelOutputs(
        label=np.where(right, 0, 1),
        score=score,
        probabilities=np.where(right[:, None], pair, pair[:, ::-1]),
    )
    return drawn, Scored(shown, shown & right, score, 1 - largest, largest, THRESHOLD)


def figures(drawn: ModelOutputs, scored: Scored) -> dict[str, float | None]:
    return measure_answers(drawn, np.where(scored.known, 0, -1), THRESHOLD)


def coverage(known: int, unknown: int, repeats: int, resamples: int) -> dict[QualityMetric, float]:
    """Share of test sets of so many images whose interval holds the truth."""
    truth = figures(*answers(np.random.default_rng(0), 100_000, 100_000))
    rng = np.random.default_rng(1)
    covered = dict.fromkeys(FIGURES, 0)
    for _ in range(repeats):
        drawn, scored = answers(rng, known, unknown)
        here, draws = figures(drawn, scored), resample([scored], resamples)[0]
        for figure in FIGURES:
            bounds = interval(here[figure], draws[figure], smaller=min(known, unknown))
            low, high, true = bounds["low"], bounds["high"], truth[figure]
            assert low is not None and high is not None and true is not None
            covered[figure] += low <= true <= high
    return {figure: count / repeats for figure, count in covered.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=whole(1, 100_000), default=1000, help="test sets")
    parser.add_argument("--resamples", type=whole(1, 100_000), default=500, help="of each")
    parser.add_argument("--render", action="store_true", help="write the table anew, from the JSON")
    options = parser.parse_args()
    if not options.render:
        rows = []
        for known, unknown in SIZES:
            shares = coverage(known, unknown, options.repeats, options.resamples)
            rows.append({"known": known, "unknown": unknown, "coverage": shares})
            print(known, unknown, shares, flush=True)
        write_json(
            RECORD, {"repeats": options.repeats, "resamples": options.resamples, "rows": rows}
        )
    record = read_record(RECORD, "python -m benchmarks.interval_coverage")
    write_between(ROOT / "docs/explanation/measurement.md", MARK, table(record))


def table(record: dict[str, Any]) -> str:
    """The table of the page: per cent of test sets whose interval holds the truth."""
    lines = [
        f"| known + unknown images | {' | '.join(FIGURES.values())} |",
        f"|---|{'---:|' * len(FIGURES)}",
    ]
    for row in record["rows"]:
        cells = " | ".join(f"{100 * row['coverage'][figure]:.0f}" for figure in FIGURES)
        lines.append(f"| {row['known']} + {row['unknown']} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
