"""Exported files of a sweep's runs: their metrics on the target, sizes and latencies."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgedistill._utils.atomic import write_text
from edgedistill.callbacks import CallbackList
from edgedistill.sweep.drive import reason
from edgedistill.sweep.engines import Engine
from edgedistill.sweep.export_task import export_job
from edgedistill.sweep.exports import read_exported
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.latency import representative_runs, time_files
from edgedistill.sweep.plan import Plan
from edgedistill.sweep.results import Row, format_mean_std, make_table, series_of

_SHOWN = {"accuracy": "accuracy", "h_score": "H deployed", "auroc": "AUROC"}


def export_runs(
    plan: Plan, folder: SweepFolder, engine: Engine, callbacks: CallbackList, at_once: int | None
) -> dict[str, dict[str, Any]]:
    """Files of every finished run, with their metrics on the target.

    Runs whose files are missing are jobs of the engine, `at_once` at a time or as many as there is
    room for. A run that cannot be exported is a warning and left out.

    Returns:
        Run -> precision -> `export_and_evaluate`'s entry, in the plan's order.
    """
    assert plan.export is not None
    int8 = plan.export.int8
    names = [run.name for run in plan.runs if folder.metrics(run.name)]
    entries = {name: read_exported(name, folder, int8) for name in names}
    jobs = [export_job(name, folder, int8) for name, files in entries.items() if files is None]

    def notify(name: str, text: str) -> None:
        callbacks.on_note(f"{name}: {text}")

    with (
        callbacks.progress("exporting", "runs") as update,
        closing(engine(jobs, at_once, notify)) as ended,
    ):
        update(len(names) - len(jobs), len(names))
        for number, outcome in enumerate(ended, len(names) - len(jobs) + 1):
            name = outcome.name
            entries[name] = read_exported(name, folder, int8) if outcome.status == 0 else None
            if entries[name] is None:
                callbacks.on_warning(f"{name}: no files: {reason(outcome, folder.log(name))}")
            update(number, len(names), name)
    return {name: files for name, files in entries.items() if files is not None}


def bench_series(
    plan: Plan,
    folder: SweepFolder,
    rows: Sequence[Row],
    files: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any] | None:
    """`time_files` of one run's files for every series; None where no times are asked for."""
    chosen = representative_runs({row["run"]: series_of(plan, row) for row in rows}, files)
    if plan.export is None or not plan.export.bench or not chosen:
        return None
    spec = plan.export
    return time_files(list(chosen.values()), files, folder, spec.threads, spec.rounds)


def write_files(
    plan: Plan,
    folder: SweepFolder,
    rows: Sequence[Row],
    files: Mapping[str, Mapping[str, Any]],
    bench: Mapping[str, Any] | None,
) -> tuple[Path, Path]:
    """`files.json` and `files.md`; returns their paths."""
    record, table = folder.path / "files.json", folder.path / "files.md"
    write_text(record, json.dumps({"files": files, "bench": bench}, indent=1) + "\n")
    write_text(table, to_markdown(plan, rows, files, bench))
    return record, table


def columns(bench: Mapping[str, Any] | None) -> list[str]:
    """Headings of `lines`."""
    return ["", "file", *_SHOWN.values(), "MB", *(["p50 ms"] if bench else [])]


def lines(
    plan: Plan,
    rows: Sequence[Row],
    files: Mapping[str, Mapping[str, Any]],
    bench: Mapping[str, Any] | None,
) -> list[list[str]]:
    """A line per series and precision: per cent over targets and replicates, size and time."""
    times = {
        model["sha256"]: model["latency"][0]["model"]["p50_ms"]
        for model in (bench or {"models": []})["models"]
    }
    series = {row["run"]: series_of(plan, row) for row in rows}
    chosen = representative_runs(series, files)
    table_rows = []
    for name in dict.fromkeys(series.values()):
        for precision in files.get(chosen.get(name, ""), {}):
            tables = [_table(plan, rows, files, precision, metric) for metric in _SHOWN]
            entry = files[chosen[name]][precision]
            size = f"{entry['bytes'] / 1e6:.1f}" if "bytes" in entry else "refused"
            line = [name, precision, *(format_mean_std(t.means.get(name)) for t in tables), size]
            if bench:
                ms = times.get(entry.get("sha256"))
                line.append("-" if ms is None else f"{ms:.2f}")
            table_rows.append(line)
    return table_rows


def to_markdown(
    plan: Plan,
    rows: Sequence[Row],
    files: Mapping[str, Mapping[str, Any]],
    bench: Mapping[str, Any] | None,
) -> str:
    """`lines` as a table, and what they are."""
    refused = sum("refused" in entry for entries in files.values() for entry in entries.values())
    text = (
        f"{len(files)} of {len(plan.runs)} runs as files, answering the target's images in "
        "onnxruntime. Per cent, mean over targets within a replicate, ± over replicates."
    )
    if refused:
        text += (
            f" {refused} int8 files were refused, as they lost too many answers on source images; "
            "means are of replicates that have a file for every target."
        )
    if bench:
        where, noise = bench["machine"], bench["noise"]["verdict"]
        text += (
            f" Times are of one run of each line, {where['cpu']}, "
            f"{plan.export.threads if plan.export else 1} threads; noise: {noise}."
        )
    head = columns(bench)
    table = [
        "| " + " | ".join(head) + " |",
        "|---|---|" + "---:|" * (len(head) - 2),
        *("| " + " | ".join(line) + " |" for line in lines(plan, rows, files, bench)),
    ]
    return "\n\n".join([f"# {plan.name}, files", text, "\n".join(table)]) + "\n"


def _table(
    plan: Plan,
    rows: Sequence[Row],
    files: Mapping[str, Mapping[str, Any]],
    precision: str,
    metric: str,
) -> Any:
    """The sweep's table of a metric, with the file's value in place of the run's."""
    rows_of_files = [
        {**row, metric: files.get(row["run"], {}).get(precision, {}).get(metric)} for row in rows
    ]
    return make_table(plan, rows_of_files, metric)
