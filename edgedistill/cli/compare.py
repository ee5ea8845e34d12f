"""`edgedistill compare`: finished runs side by side."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedistill.cli.tables import duration, metric_cells, print_json, print_table
from edgedistill.errors import UsageError
from edgedistill.run.lookup import find_run

COLUMNS = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "oracle_h_score": "H oracle",
    "auroc": "AUROC",
    "known_acceptance": "kept",
    "unknown_rejection": "rejected",
}


def compare_runs(names: Sequence[str], runs: Path, as_json: bool) -> None:
    """One row per run. Raises EdgeDistillError for a run that is not there or not finished."""
    found = {name: _checked(find_run(name, runs) / "metrics.json") for name in names}
    if as_json:
        print_json(found)
        return
    rows = [
        [
            Path(name).name,
            metrics["method"],
            metrics["student"],
            metrics["target"]["domain"],
            *metric_cells(metrics["target"], list(COLUMNS)),
            metrics["openset"]["score"],
            duration(metrics["seconds"]),
        ]
        for name, metrics in found.items()
    ]
    header = ["run", "method", "student", "target", *COLUMNS.values(), "score", "time"]
    print_table("Target domain, %", header, rows)


def _checked(path: Path) -> dict[str, Any]:
    """metrics.json of a run, if it holds what the table shows."""
    try:
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        target = metrics["target"]
        # What the table shows of every run.
        shown = (metrics["method"], metrics["student"], target["domain"])
        fits = all(isinstance(text, str) for text in (*shown, metrics["openset"]["score"]))
        fits &= _is_number(metrics["seconds"])
        fits &= all(target.get(name) is None or _is_number(target[name]) for name in COLUMNS)
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UsageError(f"{path}: not the metrics of a run; delete it and run the recipe again")
    return metrics


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and math.isfinite(value)
