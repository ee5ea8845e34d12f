"""`edgedistill compare`: finished runs side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import edgedistill as ed
from edgedistill.cli.options import AsJson, Runs
from edgedistill.runs.lookup import is_unfinished, run_names

_TITLES = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "oracle_h_score": "H oracle",
    "auroc": "AUROC",
    "known_acceptance": "known keep rate",
    "unknown_rejection": "unknown reject rate",
}


def compare(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN...]", help="Run names or folders [default: all in --runs]."),
    ] = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Put finished runs side by side. Unfinished ones are left out with a note."""
    from edgedistill.cli.tables import duration, metric_cells, print_json, print_table

    given = names or run_names(runs)
    unfinished = [name for name in given if is_unfinished(name, runs)]
    # Where there is nothing to compare, the refusal says how to finish a run.
    finished = [name for name in given if name not in unfinished] or names
    compared = ed.compare(finished, runs=runs)
    if unfinished:
        ed.ConsoleCallback().on_warning(f"left out, as not finished: {', '.join(unfinished)}")
    if as_json:
        print_json(compared)
        return
    rows = [
        [
            Path(name).name,
            metrics["method"],
            metrics["student"],
            (metrics["target"] or {}).get("domain") or metrics["test_kind"],
            *metric_cells(metrics["target"] or {}, list(_TITLES)),
            metrics["openset"]["score"],
            duration(metrics["seconds"]),
        ]
        for name, metrics in compared.items()
    ]
    rows += _start_rows(compared)
    header = ["run", "method", "student", "tested on", *_TITLES.values(), "score", "time"]
    print_table("Test images, %", header, rows)


def _start_rows(compared: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row for the start weights of each student and test images, as they are without training."""
    from edgedistill.cli.tables import metric_cells

    rows = []
    for metrics in compared.values():
        start = metrics.get("start") or {}
        target = start.get("target")
        if target is None:
            continue
        row = [
            "start weights",
            "no training",
            metrics["student"],
            target["domain"] or metrics["test_kind"],
            *metric_cells(target, list(_TITLES)),
            start["openset"]["score"],
            "-",
        ]
        # Runs of one student start alike.
        if row not in rows:
            rows.append(row)
    return rows
