"""The matrix: students x methods x targets x seeds of the embedded benchmark, as files.

    edgedistill sweep benchmarks/emoji.toml            # trains; kill it and go on at any time
    python benchmarks/emoji/matrix.py sweeps/emoji     # exports and measures what is finished
    python benchmarks/emoji/matrix.py --render         # only the tables, from matrix.json

Every finished run of the sweep's folder is exported in fp32 and int8 into its own folder, and both
files answer the target's images in onnxruntime; what is done already is not done again, until the
run, a file, the int8 policy, the code that exports and answers or a version that it is done with
changes. One file per student and method is then timed by `edgedistill bench`, all taking turns,
once for the same files, machine and versions. The numbers go to
benchmarks/emoji/matrix.json and from there into docs/results.md and README.md, between
`<!-- matrix -->` marks. Runs that are missing leave gaps. With --record FILE the tables are
printed, and no document is touched.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from matrix_tables import document, summary

from edgedistill import __version__
from edgedistill.atomic import write_json, write_text
from edgedistill.bench.machine import machine, moment
from edgedistill.errors import EdgeDistillError
from edgedistill.export.build import export_fp32, export_int8
from edgedistill.export.finished import load_finished
from edgedistill.export.images import Labelled, RunImages
from edgedistill.export.measure import measure
from edgedistill.export.policy import POLICY_FILE
from edgedistill.export.session import answers, open_session
from edgedistill.marked import write_between
from edgedistill.onnx_file import read_model
from edgedistill.run_folder import RunFolder
from edgedistill.script import read_record, run_script, whole
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, make_plan

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "benchmarks" / "emoji.toml"
RECORD = Path(__file__).with_name("matrix.json")
MARK = "<!-- matrix -->"
FILES = {"fp32": "student.onnx", "int8": "student-int8.onnx"}
# What files are made with and answer with, besides this package.
VERSIONS = ("onnx", "onnxruntime", "torch")
CODE = ("export", "methods", "openset", "students.py", "onnx_file.py", "pixels.py")
TEACHER = ("name", "accuracy", "h_score", "oracle_h_score", "auroc", "fpr95", "oscr")


def measured(run: PlannedRun, folder: SweepFolder) -> dict[str, Any]:
    """Both files of a finished run and what they answer, read back where it is done already.

    Raises EdgeDistillError when the run cannot be read or its fp32 file fails a check; an int8
    file that is refused is part of the result.
    """
    place = folder.run(run.name)
    kept = folder.path / "files" / f"{run.name}.json"
    key = fingerprint(place)
    done = _kept(kept, key)
    if done is not None and all(_same(place / f, done[p]) for p, f in FILES.items()):
        return done
    found = load_finished(RunFolder(place))
    target = RunImages(found, found.recipe.student.size).target()
    export_fp32(found, place / FILES["fp32"])
    result: dict[str, Any] = {"key": key, "fp32": answered(place / FILES["fp32"], target)}
    try:
        int8 = export_int8(found, place / FILES["int8"]).int8
    except EdgeDistillError as error:
        # The verdict on the answers is a result; a full disk is not.
        if not str(error).startswith("int8 loses"):
            raise
        (place / FILES["int8"]).unlink(missing_ok=True)
        result["int8"] = {"refused": str(error)}
    else:
        assert int8 is not None
        nodes = {"nodes": int8.nodes, "spared": int8.spared}
        result["int8"] = answered(place / FILES["int8"], target) | nodes
    kept.parent.mkdir(exist_ok=True)
    write_json(kept, result)
    return result


def answered(path: Path, target: Labelled) -> dict[str, Any]:
    """Metrics of a file's own answers on the target's images, at its own threshold."""
    data, info = read_model(path)
    found = measure(answers(open_session(data), target.pixels), target.labels, info.threshold)
    sha256 = hashlib.sha256(data).hexdigest()
    return {**found, "threshold": info.threshold, "bytes": len(data), "sha256": sha256}


def fingerprint(run: Path) -> str:
    """Changes with what a run's files come from: its results, the policy, `CODE`, `VERSIONS`."""
    package = ROOT / "edgedistill"
    code = [p for name in CODE for p in sorted((package / name).rglob("*.py"))]
    code += [package / name for name in CODE if name.endswith(".py")]
    results = [run / name for name in ("student.safetensors", "openset.json")]
    parts = [_sha256(path) for path in (*results, POLICY_FILE, *code)]
    parts += [metadata.version(name) for name in VERSIONS]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


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


def one_of_each(rows: Sequence[Mapping[str, Any]], folder: SweepFolder) -> dict[Path, Any]:
    """File -> its row and precision, for the first run of every student and method.

    Runs that differ in target or seed alone have the same fp32 graph, and nearly the same in int8.
    """
    first: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in rows:
        kind = (row["student"], row["method"])
        # A run whose int8 file was refused has no pair to time.
        if kind not in first or (_made(row, "int8") and not _made(first[kind], "int8")):
            first[kind] = row
    return {
        folder.run(row["run"]) / FILES[precision]: (row, precision)
        for row in first.values()
        for precision in FILES
        if _made(row, precision)
    }


def timed(
    rows: Sequence[Mapping[str, Any]], folder: SweepFolder, options: argparse.Namespace
) -> Any:
    """What `edgedistill bench` says of one file per student and method; kept beside the sweep."""
    files = one_of_each(rows, folder)
    kept = folder.path / "files" / "bench.json"
    wanted = [row[precision]["sha256"] for row, precision in files.values()]
    now = moment()
    here = machine(now, now, datetime.now(UTC))
    where = [str(here[name]) for name in ("cpu", "cores", "flags", "onnxruntime", "edgedistill")]
    parts = [*wanted, *where, str(options.threads), str(options.rounds)]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    done = _kept(kept, key)
    if done is not None:
        return done["result"]
    command = [sys.executable, "-m", "edgedistill", "bench", *map(str, files)]
    command += ["--threads", str(options.threads), "--batch", "1"]
    if options.rounds is not None:
        command += ["--rounds", str(options.rounds)]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "bench.json"
        status = subprocess.run([*command, "--json", str(out)], stdout=sys.stderr).returncode
        if status:
            raise EdgeDistillError(
                f"edgedistill bench: ended with status {status}; what it said is above"
            )
        result = json.loads(out.read_text(encoding="utf-8"))
    if {model["sha256"] for model in result["models"]} != set(wanted):
        raise EdgeDistillError(f"{folder.path}: files changed while they were timed; start again")
    write_json(kept, {"key": key, "result": result})
    return result


def latency_rows(
    result: Mapping[str, Any], files: Mapping[Path, tuple[Mapping[str, Any], str]]
) -> list[dict[str, Any]]:
    """The times of `edgedistill bench`, a row per file."""
    by_hash = {row[precision]["sha256"]: (row, precision) for row, precision in files.values()}
    found = []
    for model in result["models"]:
        row, precision = by_hash[model["sha256"]]
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


def collect(plan: Plan, folder: SweepFolder, options: argparse.Namespace) -> dict[str, Any]:
    """matrix.json of what is finished. Runs that cannot be measured are said and left out."""
    rows = []
    for run in plan.runs:
        metrics = folder.metrics(run.name)
        if metrics is None:
            continue
        try:
            rows.append(row_of(run, metrics, measured(run, folder)))
        except EdgeDistillError as error:
            print(f"{run.name}: left out: {error}", file=sys.stderr)
            continue
        print(f"{len(rows)} {run.name}: {_told(rows[-1])}", flush=True)
    result = timed(rows, folder, options) if rows and not options.untimed else None
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
        "threads": options.threads,
        "machine": result and result["machine"],
        "noise": result and {k: result["noise"][k] for k in ("verdict", "worst", "limit")},
        "latency": latency_rows(result, one_of_each(rows, folder)) if result else [],
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


def _same(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file is the one that was answered with; of a refused one there is none."""
    return "refused" in entry or _sha256(path) == entry.get("sha256")


def _sha256(path: Path) -> str:
    """ "" where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _made(row: Mapping[str, Any], precision: str) -> bool:
    return "sha256" in row[precision]


def _kept(path: Path, key: str) -> dict[str, Any] | None:
    """What an earlier start wrote, None when there is nothing or it was about other files."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == key else None


def _told(row: Mapping[str, Any]) -> str:
    told = []
    for precision in FILES:
        part = row[precision]
        if "refused" in part:
            told.append(f"{precision} refused")
            continue
        rates = (f"{100 * part[k]:.1f}" for k in ("accuracy", "h_score") if part[k] is not None)
        told.append(f"{precision} accuracy and H deployed {' and '.join(rates)}")
    return ", ".join(told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="the sweep's folder: sweeps/emoji")
    parser.add_argument("--sweep", type=Path, default=SWEEP, help="the sweep's file")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file to write")
    parser.add_argument("--threads", type=whole(1, 1024), default=1, help="of the timing")
    parser.add_argument(
        "--rounds", type=whole(6, 1000), help="of the timing; bench's own number if left out"
    )
    parser.add_argument("--untimed", action="store_true", help="export and answer, measure no time")
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
        refuse_other_recipes(folder, plan)
        write_text(options.record, to_text(collect(plan, folder, options)))
    record = read_record(options.record, "python benchmarks/emoji/matrix.py SWEEP_FOLDER")
    if options.record.resolve() == RECORD:
        render(record)
    else:
        print(document(record), summary(record), sep="\n\n")


if __name__ == "__main__":
    run_script(main)
