"""Sweeps of an embedded benchmark: run them, read them back, and compare their variants."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.emoji.trained_with import weights_key
from edgedistill.errors import EdgeDistillError
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan, PlannedRun, make_plan

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "recipes" / "sweeps"
SHOWN = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "oracle_h_score": "H oracle",
    "auroc": "AUROC",
}
Row = Mapping[str, Any]


def default_out(benchmark: str = "emoji") -> Path:
    """A folder of its own for every set of embedded weights: no run of other ones is in it."""
    return ROOT / "runs" / f"{benchmark}-{weights_key()}"


def train(sweep: Path, jobs: int, out: Path, only: str | None = None) -> None:
    """Run what is not finished, with one thread each, so that numbers do not depend on `jobs`.

    `only`: the part of the grid to do, AXIS=VALUE.

    Raises SystemExit with the status of a sweep that was stopped or had runs that failed.
    """
    command = [sys.executable, "-m", "edgedistill", "sweep", str(sweep)]
    command += [
        "--jobs",
        str(jobs),
        "--out",
        str(out.resolve()),
        *(["--only", only] if only else []),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        status = subprocess.run(command, env=environment, cwd=ROOT).returncode
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if status:
        raise SystemExit(status)


def finished(sweep: Path, out: Path) -> list[tuple[PlannedRun, dict[str, Any]]]:
    """Every finished run with its metrics. Raises EdgeDistillError if there is none."""
    plan, folder = make_plan(sweep), SweepFolder(out / sweep.stem)
    results = [(run, folder.metrics(run.name)) for run in plan.runs]
    done = [(run, metrics) for run, metrics in results if metrics is not None]
    if not done:
        raise EdgeDistillError(f"{folder.path}: no finished run; start without --finished")
    return done


def variant_rows(sweep: Path, out: Path) -> list[dict[str, Any]]:
    """A row per finished run of a sweep with one axis of variants."""
    (axis,) = variants_of(make_plan(sweep))
    return [
        {
            "sweep": sweep.stem,
            "variant": run.values[axis],
            "target": run.recipe.data.target,
            "seed": run.recipe.seed,
            **{key: metrics["target"][key] for key in SHOWN},
        }
        for run, metrics in finished(sweep, out)
    ]


def variants_of(plan: Plan) -> list[str]:
    """Axes that are neither target nor seed."""
    return [axis for axis in plan.axes if axis not in ("data.target", "seed")]


def differences(rows: Sequence[Row], variant: str, reference: str) -> dict[str, list[float]]:
    """Metric -> one difference per seed, variant minus reference, averaged over targets.

    Only pairs count: runs of the same seed and target.
    """
    by_place = {(r["variant"], r["seed"], r["target"]): r for r in rows}
    differences: dict[str, list[float]] = {key: [] for key in SHOWN}
    for seed in sorted({r["seed"] for r in rows}):
        pairs = [
            (by_place[variant, seed, target], by_place[reference, seed, target])
            for target in sorted({r["target"] for r in rows})
            if (variant, seed, target) in by_place and (reference, seed, target) in by_place
        ]
        for key in SHOWN if pairs else ():
            differences[key].append(float(np.mean([a[key] - b[key] for a, b in pairs])))
    return differences


def difference_table(rows: Sequence[Row], reference: str, first: str) -> str:
    """The reference's own values, and what each variant changes: mean ± std over seeds, points."""
    variants = list(dict.fromkeys(r["variant"] for r in rows if r["variant"] != reference))
    lines = [f"| {first} | {' | '.join(SHOWN.values())} | seeds |", f"|---|{'---:|' * 5}"]
    means = {
        key: [
            float(np.mean([r[key] for r in rows if (r["variant"], r["seed"]) == (reference, s)]))
            for s in sorted({r["seed"] for r in rows if r["variant"] == reference})
        ]
        for key in SHOWN
    }
    lines.append(_line(reference, means, ""))
    for variant in variants:
        lines.append(_line(variant, differences(rows, variant, reference), "+"))
    return "\n".join(lines)


def wrapped(text: str) -> str:
    """A paragraph on lines of at most a hundred characters."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def points(values: Sequence[float], sign: str = "") -> str:
    """Mean and sample standard deviation in per cent, with `sign` "+" for differences."""
    if not values:
        return "–"
    text = f"{100 * np.mean(values):{sign}.1f}".replace("-", "−")
    return text if len(values) == 1 else f"{text} ± {100 * np.std(values, ddof=1):.1f}"


def _line(name: str, values: Mapping[str, Sequence[float]], sign: str) -> str:
    cells = [points(v, sign) for v in values.values()]
    return f"| {name.replace('-', ' ')} | {' | '.join(cells)} | {len(values['accuracy'])} |"
