"""The matrix: students x methods x targets x seeds of the embedded benchmark, as files.

    edgedistill sweep benchmarks/emoji.toml            # trains, exports, answers and times
    python -m benchmarks.emoji.matrix sweeps/emoji     # collects what is finished
    python -m benchmarks.emoji.matrix --render         # only the tables, from matrix.json

The sweep does all the work, and goes on where it was killed; here its numbers become
benchmarks/emoji/matrix.json, and the tables of benchmarks/emoji/RESULTS.md and README.md between
`<!-- matrix -->` marks. Runs that are missing leave gaps. Runs of the record that the
folder does not have stay, so that the matrix can be done in parts, on different days and machines
(`sweep --only student=resnet18 --only seed=0`). With --record FILE the tables are printed, and no
document is touched.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.emoji.matrix_picture import picture
from benchmarks.emoji.matrix_tables import document, summary
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script
from edgedistill import __version__
from edgedistill._utils.atomic import write_bytes, write_text
from edgedistill.errors import EdgeDistillError
from edgedistill.report.style import png
from edgedistill.students.weights import EMBEDDED_FOLDER
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, make_plan

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "benchmarks" / "emoji.toml"
PICTURE = ROOT / "docs" / "assets" / "matrix.png"
RECORD = Path(__file__).with_name("matrix.json")
MARK = "<!-- matrix -->"
TEACHER = ("name", "accuracy", "h_score", "oracle_h_score", "auroc", "fpr95", "oscr")


@cache
def start_file(student: str) -> str | None:
    """Twelve hex digits of the start weights that ship for a student; None where none do."""
    path = EMBEDDED_FOLDER / f"student-{student}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else None


def settings(run: PlannedRun) -> dict[str, Any]:
    """What the tables say of a run's recipe, and which start weights it means today."""
    recipe = run.recipe
    embedded = recipe.student.weights == "embedded"
    return {
        "run": run.name,
        "student": recipe.student.model,
        "method": recipe.method.name,
        "target": recipe.data.target,
        "seed": recipe.seed,
        "weights": recipe.student.weights,
        "start_file": start_file(recipe.student.model) if embedded else None,
        "size": recipe.student.size,
        "steps": recipe.train.steps,
        "lr": recipe.train.lr,
        "score": recipe.openset.score,
        "acceptance": recipe.openset.keep,
    }


def row_of(
    run: PlannedRun,
    metrics: Mapping[str, Any],
    identity: Mapping[str, str | None],
    files: Mapping[str, Any],
) -> dict[str, Any]:
    """A run's entry of matrix.json."""
    teacher = metrics["teacher"]
    return {
        **settings(run),
        "identity": dict(identity),
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
    rows = []
    for model in bench["models"]:
        row, precision = by_hash.get(model["sha256"], (None, ""))
        # Of a run that cannot be read any more.
        if row is None:
            continue
        timing = model["latency"][0]["model"]
        rows.append(
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
    return rows


def collect(plan: Plan, folder: SweepFolder) -> dict[str, Any]:
    """matrix.json of the runs whose files the sweep has made."""
    path = folder.path / "files.json"
    record = read_record(path, f"edgedistill sweep {SWEEP.relative_to(ROOT)}")
    files, bench = record["files"], record["bench"]
    rows = []
    for run in plan.runs:
        metrics = folder.metrics(run.name)
        if metrics is not None and run.name in files:
            environment = read_record(folder.run(run.name) / "environment.json", "edgedistill run")
            rows.append(row_of(run, metrics, environment["identity"], files[run.name]))
    latency = latency_rows(bench, rows) if bench else []
    measured = bench and {
        "edgedistill": __version__,
        "threads": bench["method"]["threads"][0],
        "machine": bench["machine"],
        "noise": {key: bench["noise"][key] for key in ("verdict", "worst", "limit")},
    }
    return {
        "sweep": plan.name,
        "planned": len(plan.runs),
        "axes": {
            "student": _values(plan, lambda run: run.recipe.student.model),
            "method": _values(plan, lambda run: run.recipe.method.name),
            "target": _values(plan, lambda run: run.recipe.data.target),
            "seed": _values(plan, lambda run: run.recipe.seed),
        },
        "measured": {student: measured for student in _students(latency)},
        "latency": latency,
        "rows": rows,
    }


def merged(old: Mapping[str, Any], new: dict[str, Any], plan: Plan) -> tuple[dict[str, Any], int]:
    """`new`, and the runs of `old` that it does not have.

    Returns:
        The record, and how many rows of `old` were left out because the plan has other settings or
        their start weights are not those that ship now.

    Raises:
        EdgeDistillError: the rows left are not all of one teacher, or of the same images.
    """
    planned = {run.name: settings(run) for run in plan.runs}
    done = {row["run"] for row in new["rows"]}
    others = [row for row in old["rows"] if row["run"] not in done]
    current = [row for row in others if _same_settings(row, planned.get(row["run"]))]
    order = {name: place for place, name in enumerate(planned)}
    rows = sorted([*current, *new["rows"]], key=lambda row: order[row["run"]])
    _refuse_other_origins(rows)
    timed, now_there = _files(old["rows"]), _files(rows)
    latency: list[dict[str, Any]] = []
    measured: dict[str, Any] = {}
    for student in new["axes"]["student"]:
        before = [
            e
            for e in old["latency"]
            if e["student"] == student
            and timed[e["run"], e["precision"]] == now_there.get((e["run"], e["precision"]))
        ]
        now = [e for e in new["latency"] if e["student"] == student]
        # Times of one session only, of files still there; of more files rather than of fewer.
        taken, source = (before, old) if len(before) > len(now) else (now, new)
        if taken:
            latency += taken
            measured[student] = source["measured"][student]
    return {**new, "measured": measured, "latency": latency, "rows": rows}, len(others) - len(
        current
    )


def _files(rows: list[dict[str, Any]]) -> dict[tuple[str, str], str | None]:
    """Run and precision -> hash of the file; None for one that was refused."""
    return {(row["run"], p): row[p].get("sha256") for row in rows for p in ("fp32", "int8")}


def _same_settings(row: Mapping[str, Any], planned: Mapping[str, Any] | None) -> bool:
    return planned is not None and all(row.get(key) == value for key, value in planned.items())


def _refuse_other_origins(rows: list[dict[str, Any]]) -> None:
    firsts: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        # One teacher for all; every target has training images of its own.
        for what, place in (("teacher", ""), ("images", row["target"])):
            if row["identity"][what] is None:
                continue
            first = firsts.setdefault((what, place), row)
            if row["identity"][what] != first["identity"][what]:
                raise EdgeDistillError(
                    f"{row['run']}: of another {what} than {first['run']}; train both with the "
                    f"same, or delete {RECORD.name} to begin anew"
                )


def _students(entries: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(entry["student"] for entry in entries))


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
    """The tables into the three documents, and the picture."""
    write_between(ROOT / "benchmarks/emoji/RESULTS.md", MARK, document(record))
    for page in ("docs/results.md", "README.md"):
        write_between(ROOT / page, MARK, summary(record))
    write_bytes(PICTURE, png(picture(record)))


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
        record = collect(plan, folder)
        if options.record.exists():
            old = read_record(options.record, "python -m benchmarks.emoji.matrix SWEEP_FOLDER")
            record, left_out = merged(old, record, plan)
            if left_out:
                print(
                    f"{left_out} runs of the record had other settings or start weights: left out"
                )
        write_text(options.record, to_text(record))
    record = read_record(options.record, "python -m benchmarks.emoji.matrix SWEEP_FOLDER")
    if options.record.resolve() == RECORD:
        render(record)
    else:
        print(document(record), summary(record), sep="\n\n")


if __name__ == "__main__":
    run_script(main)
