"""The tables of RESULTS.md: methods x targets x seeds, and the methods without their parts.

Runs what is not finished yet as sweeps of the shipped recipes, writes every number to a JSON file
and renders the tables between marks. Nothing there is typed by hand.

    python -m benchmarks.emoji.results methods --jobs 2        # of benchmarks/emoji.toml
    python -m benchmarks.emoji.results ablations --jobs 2      # ablation_scipd_each, ablation_scmd
    python -m benchmarks.emoji.results methods --finished      # only collect what is finished
    python -m benchmarks.emoji.results methods --render        # only the tables, from the JSON
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.emoji.swept import (
    ROOT,
    SHOWN,
    SWEEPS,
    default_out,
    difference_table,
    finished,
    points,
    train,
    variant_rows,
    wrapped,
)
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_text
from edgedistill.errors import EdgeDistillError

METHODS = ("erm", "kd", "clipbase", "scipd", "scmd")
TEACHERS_RECIPE = "scipd"  # whose share of known images the teacher's line keeps
TARGETS = ("line", "openmoji", "twemoji", "camera")
COLUMNS = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "oracle_h_score": "H oracle",
    "best_h_score": "H best",
    "auroc": "AUROC",
    "known_acceptance": "known keep rate",
    "unknown_rejection": "unknown reject rate",
}
RECORDS = {name: Path(__file__).with_name(f"{name}.json") for name in ("results", "ablations")}
MARK, ABLATION_MARK = "<!-- results -->", "<!-- ablations -->"
MATRIX, STUDENT = ROOT / "benchmarks" / "emoji.toml", "mobilenet_v3_small"
ABLATIONS = {"SCI-PD": "ablation_scipd_each", "SCMD": "ablation_scmd"}

Row = Mapping[str, Any]


def method_rows(out: Path) -> list[dict[str, Any]]:
    """One row per finished run; a target's seed counts only where all methods have it.

    So all methods of a target are averaged over the same seeds.
    """
    rows = [
        {
            "method": run.recipe.method.name,
            "target": run.recipe.data.target,
            "seed": run.recipe.seed,
            "score": metrics["openset"]["score"],
            "source_val_accuracy": metrics["source_val"]["accuracy"],
            **{key: metrics["target"][key] for key in COLUMNS},
            "teacher": {key: metrics["teacher"][key] for key in COLUMNS},
            "seconds": round(metrics["seconds"], 1),
        }
        for run, metrics in finished(MATRIX, out)
        if run.recipe.student.model == STUDENT
    ]
    return complete(rows)


def complete(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the (target, seed) that every method has."""
    places: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        places.setdefault((row["target"], row["seed"]), set()).add(row["method"])
    return [r for r in rows if places[r["target"], r["seed"]] == set(METHODS)]


def table(rows: Sequence[Row], targets: Sequence[str], columns: Mapping[str, str]) -> str:
    """A line per method and one for the teacher: mean over targets within a seed, ± over seeds."""
    here = [r for r in rows if r["target"] in targets]
    seeds = [s for s in sorted({r["seed"] for r in here}) if _has_all(here, s, targets)]
    here = [r for r in here if r["seed"] in seeds]
    name = f"target `{targets[0]}`" if len(targets) == 1 else f"mean over {len(targets)} targets"
    lines = [
        f"| {name}, {len(seeds)} seeds | score | {' | '.join(columns.values())} |",
        f"|---|---|{'---:|' * len(columns)}",
    ]
    for method in METHODS:
        of = [r for r in here if r["method"] == method]
        cells = [
            points([float(np.mean([r[key] for r in of if r["seed"] == s])) for s in seeds])
            for key in columns
        ]
        lines.append(f"| {method} | `{of[0]['score']}` | {' | '.join(cells)} |")
    # The teacher is the same for every method and seed, but for the share of known images to keep.
    teachers = [
        next(r["teacher"] for r in here if (r["target"], r["method"]) == (t, TEACHERS_RECIPE))
        for t in targets
    ]
    cells = [f"{100 * np.mean([t[key] for t in teachers]):.1f}" for key in columns]
    lines.append(f"| *teacher, zero-shot* | `max_cosine` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _has_all(rows: Sequence[Row], seed: int, targets: Sequence[str]) -> bool:
    return {r["target"] for r in rows if r["seed"] == seed} >= set(targets)


def tables(rows: Sequence[Row], columns: Mapping[str, str], single: Sequence[str]) -> list[str]:
    """The mean over all targets recorded, and a table for each of `single`."""
    targets = [t for t in TARGETS if any(r["target"] == t for r in rows)]
    overview = [table(rows, targets, columns)] if len(targets) > 1 else []
    return overview + [table(rows, [t], columns) for t in targets if t in single]


def methods_text(rows: Sequence[Row]) -> str:
    """Everything that benchmarks/emoji/RESULTS.md says between the marks."""
    seeds = {r["seed"] for r in rows}
    targets = [t for t in TARGETS if any(r["target"] == t for r in rows)]
    head = (
        f"{len(rows)} runs: {len(METHODS)} methods, target{'s' * (len(targets) > 1)} "
        f"{', '.join(f'`{t}`' for t in targets)}, {len(seeds)} seeds."
    )
    return "\n\n".join([head, *tables(rows, COLUMNS, TARGETS)])


def methods_summary(rows: Sequence[Row]) -> str:
    """The table of docs/results.md: the mean over targets."""
    return "\n\n".join(tables(rows, SHOWN, ()))


def render_methods(rows: Sequence[Row]) -> None:
    write_between(ROOT / "benchmarks/emoji/RESULTS.md", MARK, methods_text(rows))
    write_between(ROOT / "docs/results.md", MARK, methods_summary(rows))


def ablation_text(rows: Sequence[Row]) -> str:
    """Both methods' tables of differences."""
    parts = []
    for method, sweep in ABLATIONS.items():
        here = [r for r in rows if r["sweep"] == sweep]
        if here:
            parts.append(difference_table(here, "nothing", f"{method} without"))
    targets = " and ".join(f"`{t}`" for t in dict.fromkeys(r["target"] for r in rows))
    text = (
        f"Targets {targets}, {len(rows)} runs. The first line of a table is the recipe itself, "
        "per cent; the others are what leaving the part out changes, in points: differences "
        "between runs of the same seed and target, averaged over targets, ± over seeds."
    )
    parts.append(wrapped(text))
    return "\n\n".join(parts)


def to_text(rows: Sequence[Row]) -> str:
    """JSON with a row a line, so that changes can be read."""
    return "[\n" + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("methods", "ablations"))
    parser.add_argument("--jobs", type=whole(1, 1024), default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, help="folder of the sweeps; default: below runs/")
    parser.add_argument("--finished", action="store_true", help="collect finished runs only")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    methods = options.command == "methods"
    record = RECORDS["results" if methods else "ablations"]
    sweeps = (
        {MATRIX: f"student={STUDENT}"}
        if methods
        else {SWEEPS / f"{s}.toml": None for s in ABLATIONS.values()}
    )
    out = options.out or default_out()
    if not options.render:
        for sweep, only in () if options.finished else sweeps.items():
            train(sweep, options.jobs, out, only)
        rows = method_rows(out) if methods else _ablation_rows([*sweeps], out)
        write_text(record, to_text(rows))
    rows = read_record(record, f"python -m benchmarks.emoji.results {options.command}")
    if methods:
        render_methods(rows)
    else:
        write_between(ROOT / "benchmarks/emoji/RESULTS.md", ABLATION_MARK, ablation_text(rows))


def _ablation_rows(sweeps: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    rows = []
    for sweep in sweeps:
        # With --finished the second sweep may not have begun.
        if (out / sweep.stem / "runs").is_dir():
            rows += variant_rows(sweep, out)
    if not rows:
        raise EdgeDistillError(f"{out}: no finished run; start without --finished")
    return rows


if __name__ == "__main__":
    run_script(main)
