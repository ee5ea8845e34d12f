"""Finished runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgedistill.errors import RunFolderError
from edgedistill.runs.lookup import find_run, is_unfinished, run_names
from edgedistill.runs.result import load_run

# Shares of metrics.json's "target" that runs are compared by, in the order of a table.
COMPARED = (
    "accuracy",
    "h_score",
    "oracle_h_score",
    "auroc",
    "known_acceptance",
    "unknown_rejection",
)


def compare(
    names: Iterable[str | Path] | None = None, *, runs: str | Path = "runs"
) -> dict[str, dict[str, Any]]:
    """metrics.json of finished runs, by the names given, checked for what a table of them shows.

    Args:
        names: run folders, or names in the folder `runs`; every finished run in it when None.

    Raises:
        RunFolderError: a run is not there, is not finished, or its metrics are damaged.

    Examples:
        >>> list(ed.compare(["runs/a"]))
        ['runs/a']
    """
    if names is None:
        names = [name for name in run_names(Path(runs)) if not is_unfinished(name, Path(runs))]
        # Says how to finish one where there is none.
        names = names or [find_run(None, Path(runs))]
    return {str(name): _comparable(name, runs) for name in names}


def _comparable(name: str | Path, runs: str | Path) -> dict[str, Any]:
    run = load_run(name, runs=runs)
    metrics = run.metrics
    try:
        texts = (metrics["method"], metrics["student"], metrics["openset"]["score"])
        valid = all(isinstance(text, str) for text in texts) and _is_number(metrics["seconds"])
        # A run that was not tested on labelled images has no such figures.
        target = metrics["target"]
        if target is not None:
            valid &= _are_figures(target)
        if target is None or target["domain"] is None:
            valid &= isinstance(metrics["test_kind"], str)
    except (KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise RunFolderError(
            f"{run.path / 'metrics.json'}: not the metrics of a run; delete it and run the recipe "
            "again"
        )
    return metrics


def _are_figures(target: dict[str, Any]) -> bool:
    named = target["domain"] is None or isinstance(target["domain"], str)
    return named and all(target.get(key) is None or _is_number(target[key]) for key in COMPARED)


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and math.isfinite(value)
