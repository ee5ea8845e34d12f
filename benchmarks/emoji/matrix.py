"""The matrix: students x methods x targets x seeds of the embedded benchmark, as files.

    edgedistill sweep benchmarks/emoji.toml            # trains, exports, answers and times
    python benchmarks/emoji/matrix.py sweeps/emoji     # collects what is finished
    python benchmarks/emoji/matrix.py --render         # only the tables, from matrix.json

The sweep does all the work, and goes on where it was killed; here its numbers become
benchmarks/emoji/matrix.json, and the tables of docs/results.md and README.md between
`<!-- matrix -->` marks. Runs that are missing leave gaps. With --record FILE the tables are
printed, and no document is touched.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matrix_tables import document, summary

from edgedistill import __version__
from edgedistill.atomic import write_text
from edgedistill.errors import EdgeDistillError
from edgedistill.marked import write_between
from edgedistill.script import read_record, run_script
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, make_plan

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "benchmarks" / "emoji.toml"
RECORD = Path(__file__).with_name("matrix.json")
MARK = "<!-- matrix -->"
TEACHER = ("name", "accuracy", "h_score", "oracle_h_score", "auroc", "fpr95", "oscr")


def row_of(run: PlannedRun, metrics: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    """A run's entry of matrix.json."""
    recipe, teacher = run.recipe, metrics["teacher"]
    return {
        "run": run.name,
        "student": recipe.student.model,
        "method": recipe.method.name,
        "target": recipe.data.target,
        "seed": recipe.seed,
        "weights": recipe.student.weights,
        "size": recipe.student.size,
        "steps": recipe.train.steps,
        "lr": recipe.train.lr,
        "score": recipe.openset.score,
        "acceptance": recipe.openset.acceptance,
        "source_val_accuracy": metrics["source_val"]["accuracy"],
        "seconds": round(metrics["seconds"], 1),
        "teacher": {key: teacher[key] for key in TEACHER} if teacher else None,
        "fp32": files["fp32"],
        "int8": files["int8"],
    }


def latency_rows(bench: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The times of `edgedistill bench`, a row per file."""
    by_hash = {
        row[precision].get("sha256"): (row, precision)
        for row in rows
        for precision in ("fp32", "int8")
    }
    found = []
    for model in bench["models"]:
        row, precision = by_hash.get(model["sha256"], (None, ""))
        # Of a run that cannot be read any more.
        if row is None:
            continue
        timing = model["latency"][0]["model"]
        found.append(
            {
                "student": row["student"],
                "method": row["method"],
                "run": row["run"],
                "precision": precision,
                "parameters": model["parameters"],
                "macs": model["macs"],
                "p50_ms": timing["p50_ms"],
                "p95_ms": timing["p95_ms"],
                "rounds_ms": timing["rounds_ms"],
                "decision_p50_ms": model["latency"][0]["decision"]["p50_ms"],
                "cold_start_s": model["cold_start"]["median_s"],
                "peak_memory_bytes": model["peak_memory_bytes"],
            }
        )
    return found


def collect(plan: Plan, folder: SweepFolder) -> dict[str, Any]:
    """matrix.json of the runs whose files the sweep has made."""
    path = folder.path / "files.json"
    made = read_record(path, f"edgedistill sweep {SWEEP.relative_to(ROOT)}")
    files, bench = made["files"], made["bench"]
    rows = []
    for run in plan.runs:
        metrics = folder.metrics(run.name)
        if metrics is not None and run.name in files:
            rows.append(row_of(run, metrics, files[run.name]))
    return {
        "sweep": plan.name,
        "planned": len(plan.runs),
        "axes": {
            "student": _values(plan, lambda run: run.recipe.student.model),
            "method": _values(plan, lambda run: run.recipe.method.name),
            "target": _values(plan, lambda run: run.recipe.data.target),
            "seed": _values(plan, lambda run: run.recipe.seed),
        },
        "edgedistill": __version__,
        "threads": bench["method"]["threads"][0] if bench else None,
        "machine": bench and bench["machine"],
        "noise": bench and {k: bench["noise"][k] for k in ("verdict", "worst", "limit")},
        "latency": latency_rows(bench, rows) if bench else [],
        "rows": rows,
    }


def to_text(record: Mapping[str, Any]) -> str:
    """matrix.json with a line per run and per timed file, so that changes can be read."""
    lines = []
    for key, value in record.items():
        if key in ("rows", "latency"):
            inner = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in value)
            lines.append(f' "{key}": [\n{inner}\n ]' if value else f' "{key}": []')
        else:
            lines.append(f' "{key}": {json.dumps(value, ensure_ascii=False)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def render(record: Mapping[str, Any]) -> None:
    """The tables into the two documents."""
    write_between(ROOT / "docs/results.md", MARK, document(record))
    write_between(ROOT / "README.md", MARK, summary(record))


def _values(plan: Plan, field: Any) -> list[Any]:
    return list(dict.fromkeys(field(run) for run in plan.runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="the sweep's folder: sweeps/emoji")
    parser.add_argument("--sweep", type=Path, default=SWEEP, help="the sweep's file")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file to write")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    if options.render == (options.folder is not None):
        parser.error("give either the sweep's folder or --render")
    if not options.render:
        plan, folder = make_plan(options.sweep), SweepFolder(options.folder)
        if not folder.runs.is_dir():
            raise EdgeDistillError(
                f"{folder.path}: not a sweep's folder; train with 'edgedistill sweep "
                f"{options.sweep}', or name the folder it wrote"
            )
        if plan.export is None or not plan.export.int8:
            raise EdgeDistillError(f"{options.sweep}: has no [export] with int8 = true")
        refuse_other_recipes(folder, plan)
        write_text(options.record, to_text(collect(plan, folder)))
    record = read_record(options.record, "python benchmarks/emoji/matrix.py SWEEP_FOLDER")
    if options.record.resolve() == RECORD:
        render(record)
    else:
        print(document(record), summary(record), sep="\n\n")


if __name__ == "__main__":
    run_script(main)
