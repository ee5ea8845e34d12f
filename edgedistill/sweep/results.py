"""A sweep's results: one row per run, and tables of means over replicates."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from edgedistill.openset.metrics import h2_cv
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan, PlannedRun
from edgedistill.sweep.spec import HYBRIDNESS, TARGET

Row = dict[str, Any]
METRICS = {
    "accuracy": "closed-set accuracy",
    "h_score": "H-score, deployed threshold",
    "oracle_h_score": "H-score, best of the ten thresholds of the HDG grid (oracle)",
    "grid_mean_h_score": "H-score, mean over the ten thresholds of the HDG grid",
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "oscr": "OSCR",
}
# Lower is better.
LOWER = ("fpr95",)
# Stands for the target of runs that hold no domain out.
NO_TARGET = "no target"
_TARGET_COLUMNS = (
    *METRICS,
    "best_h_score",
    "known_acceptance",
    "unknown_rejection",
    "images_known",
    "images_unknown",
)
_TEACHER_COLUMNS = ("accuracy", "h_score", "oracle_h_score", "auroc")


def collect_rows(plan: Plan, folder: SweepFolder) -> list[Row]:
    """One row per run of the plan, finished or not, every column in every row.

    A column has values of one type, or None; that is all that a Parquet writer asks for.
    """
    mixed = {a: len({type(v) for v in values}) > 1 for a, values in plan.axes.items()}
    simple = (str, int, float, bool)
    rows = []
    for run in plan.runs:
        axes = {
            axis: value if isinstance(value, simple) and not mixed[axis] else _text(value)
            for axis, value in run.values.items()
        }
        rows.append({"run": run.name, **_fields(run), **axes, **_measured(run, folder)})
        if run.recipe.data.classes_per_source:
            rows[-1]["hybridness"] = (folder.metrics(run.name) or {}).get("hybridness")
    return rows


def to_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@dataclass(frozen=True)
class Cell:
    """A mean over replicates; `spread` is None for a single one."""

    mean: float
    spread: float | None
    count: int


@dataclass(frozen=True)
class Table:
    """A metric by series (rows) and target (columns).

    Attributes:
        series: labels of the rows.
        targets: target domains.
        cells: (series, target) -> cell; a missing key has no finished run.
        means: series -> cell of the mean over targets, where every target is finished.
    """

    series: tuple[str, ...]
    targets: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    means: dict[str, Cell]


def make_table(plan: Plan, rows: Sequence[Row], metric: str) -> Table:
    """A metric by series (everything that is neither target nor replicate) and target."""
    selected_rows = selected(plan, rows)
    series = tuple(dict.fromkeys(series_of(plan, row) for row in rows))
    targets = tuple(dict.fromkeys(row["data.target"] for row in rows))
    values: dict[tuple[str, str], dict[str, float]] = {}
    for row in selected_rows:
        if row[metric] is not None:
            place = (series_of(plan, row), row["data.target"])
            values.setdefault(place, {})[_replicate(plan, row)] = row[metric]
    cells = {
        place: _cell(list(by_replicate.values()), plan.spread)
        for place, by_replicate in values.items()
    }
    means = {}
    for name in series:
        columns = [values.get((name, target), {}) for target in targets]
        shared = set(columns[0]).intersection(*columns[1:]) if columns else set()
        if shared:
            per_replicate = [
                float(np.mean([column[r] for column in columns])) for r in sorted(shared)
            ]
            means[name] = _cell(per_replicate, plan.spread)
    return Table(series, targets, cells, means)


def selected(plan: Plan, rows: Sequence[Row]) -> list[Row]:
    """Finished rows; of those that differ in tuned axes alone, the best on source validation.

    The last of equals, as in DomainBed; target labels are not used.
    """
    finished = [row for row in rows if row["status"] == "finished"]
    if not plan.tune:
        return finished
    best: dict[tuple[Any, ...], Row] = {}
    for row in finished:
        place = tuple(row[a] for a in plan.axes if a not in plan.tune)
        current = best.get(place)
        if current is None or (row["selection_accuracy"] or 0) >= (
            current["selection_accuracy"] or 0
        ):
            best[place] = row
    return list(best.values())


def series_of(plan: Plan, row: Row, without: Sequence[str] = ()) -> str:
    """A row's label apart from target, replicates and tuned axes."""
    skip = {TARGET, *plan.replicates, *plan.tune, *without}
    parts = [_part(axis, row[axis]) for axis in plan.axes if axis not in skip]
    return ", ".join(parts) or str(row["method.name"])


@dataclass(frozen=True)
class Curve:
    """A metric against hybridness, averaged over targets: one cell per value, ascending."""

    hybridness: tuple[float, ...]
    cells: tuple[Cell, ...]


def hybridness_curves(plan: Plan, rows: Sequence[Row], metric: str) -> dict[str, Curve]:
    """Series -> curve. Empty unless the sweep has two values of hybridness or more."""
    return {
        name: Curve(
            tuple(sorted(by_value)),
            tuple(_cell(list(by_value[h].values()), plan.spread) for h in sorted(by_value)),
        )
        for name, by_value in _by_hybridness(plan, rows, metric).items()
    }


def h2_cv_cells(plan: Plan, rows: Sequence[Row], metric: str) -> dict[str, Cell]:
    """Series -> H²-CV of a metric, per replicate over all values of hybridness, then averaged.

    Our reading of HDG's measure: population standard deviation over mean, of the H-scores
    averaged over targets, over the values of hybridness; lower is more robust.
    """
    cells = {}
    wanted = len({row["hybridness"] for row in rows} - {None})
    for name, by_value in _by_hybridness(plan, rows, metric).items():
        if len(by_value) < wanted:
            continue
        shared = set.intersection(*(set(by_replicate) for by_replicate in by_value.values()))
        values = [
            value
            for r in sorted(shared)
            if (value := h2_cv([by_value[h][r] for h in sorted(by_value)])) is not None
        ]
        if values:
            cells[name] = _cell(values, plan.spread)
    return cells


def to_markdown(plan: Plan, rows: Sequence[Row]) -> str:
    """Every table of the sweep, in per cent."""
    finished = sum(row["status"] == "finished" for row in rows)
    over = " and ".join(plan.replicates) or "one run"
    spread = "population standard deviation / √n" if plan.spread == "sem" else "standard deviation"
    parts = [
        f"# {plan.name}",
        f"{finished} of {len(rows)} runs finished. Per cent, mean ± {spread} over {over}. "
        "The column `mean` averages over targets within a replicate first.",
    ]
    if plan.tune:
        parts.append(
            f"Of the values of {', '.join(plan.tune)}, each cell has the one with the best source "
            "validation; target labels are not looked at."
        )
    for metric, title in METRICS.items():
        table = make_table(plan, rows, metric)
        if not table.cells:
            continue
        low = ", lower is better" if metric in LOWER else ""
        parts += [f"## {title[0].upper()}{title[1:]}{low}", _markdown(table)]
    parts += _h2_cv_markdown(plan, rows)
    return "\n\n".join(parts) + "\n"


def format_mean_std(cell: Cell | None) -> str:
    """`61.9 ± 1.7`, or `-`."""
    if cell is None:
        return "-"
    spread = "" if cell.spread is None else f" ± {100 * cell.spread:.1f}"
    return f"{100 * cell.mean:.1f}{spread}"


def _h2_cv_markdown(plan: Plan, rows: Sequence[Row]) -> list[str]:
    titles = {
        "h_score": "deployed",
        "oracle_h_score": "oracle (best of the grid)",
        "grid_mean_h_score": "grid mean",
    }
    columns = {m: h2_cv_cells(plan, rows, m) for m in titles}
    series = list(dict.fromkeys(chain.from_iterable(columns.values())))
    if not series:
        return []
    lines = [
        "| | " + " | ".join(titles.values()) + " |",
        "|---|" + "---:|" * len(titles),
        *(
            f"| {name} | "
            + " | ".join(format_mean_std(columns[m].get(name)) for m in titles)
            + " |"
            for name in series
        ),
    ]
    text = (
        "Coefficient of variation (population standard deviation / mean) over hybridness of the "
        "target-averaged H-score, per replicate. This is our reading; the formula is not "
        "published with the authors' code."
    )
    return ["## H²-CV, lower is more robust", text, "\n".join(lines)]


def _markdown(table: Table) -> str:
    head = ["", *table.targets, "mean"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name in table.series:
        cells = [format_mean_std(table.cells.get((name, target))) for target in table.targets]
        lines.append(
            f"| {name} | " + " | ".join([*cells, format_mean_std(table.means.get(name))]) + " |"
        )
    return "\n".join(lines)


def _by_hybridness(
    plan: Plan, rows: Sequence[Row], metric: str
) -> dict[str, dict[float, dict[str, float]]]:
    """Series -> hybridness -> replicate -> mean over targets; nothing where a target is missing."""
    values = {row["hybridness"] for row in rows} - {None}
    targets = {row["data.target"] for row in rows}
    if len(values) < 2:
        return {}
    by_target_of: dict[str, dict[float, dict[str, dict[str, float]]]] = {}
    for row in selected(plan, rows):
        if row["hybridness"] is None or row[metric] is None:
            continue
        name = series_of(plan, row, without=(HYBRIDNESS,))
        place = by_target_of.setdefault(name, {}).setdefault(row["hybridness"], {})
        place.setdefault(_replicate(plan, row), {})[row["data.target"]] = row[metric]
    means: dict[str, dict[float, dict[str, float]]] = {}
    for name, by_value in by_target_of.items():
        for h, by_replicate in by_value.items():
            for replicate, by_target in by_replicate.items():
                if set(by_target) == targets:
                    place_ = means.setdefault(name, {}).setdefault(h, {})
                    place_[replicate] = float(np.mean([by_target[t] for t in sorted(targets)]))
    return means


def _cell(values: list[float], spread: str) -> Cell:
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Cell(mean, None, 1)
    if spread == "sem":
        return Cell(mean, float(np.std(values) / np.sqrt(count)), count)
    return Cell(mean, float(np.std(values, ddof=1)), count)


def _replicate(plan: Plan, row: Row) -> str:
    return repr([row[axis] for axis in plan.replicates])


def _part(axis: str, value: Any) -> str:
    if axis == HYBRIDNESS:
        return f"H {value}"
    return str(value) if isinstance(value, str) else f"{axis.rpartition('.')[2]} {value}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fields(run: PlannedRun) -> Row:
    recipe = run.recipe
    value = recipe.data.hybridness
    return {
        "dataset": recipe.data.dataset,
        "protocol": recipe.data.protocol,
        "data.target": recipe.data.target or NO_TARGET,
        "hybridness": None if value is None else float(Fraction(value)),
        "method.name": recipe.method.name,
        "student.model": recipe.student.model,
        "teacher.model": recipe.teacher.model,
        "seed": recipe.seed,
    }


def _measured(run: PlannedRun, folder: SweepFolder) -> Row:
    metrics = folder.metrics(run.name)
    look: Callable[..., Any] = _value if metrics else lambda *_: None
    target = {name: look(metrics, "target", name) for name in _TARGET_COLUMNS}
    teacher = {f"teacher_{name}": look(metrics, "teacher", name) for name in _TEACHER_COLUMNS}
    return {
        "status": "finished" if metrics else "not finished",
        **target,
        "selection_accuracy": folder.selection_accuracy(run.name) if metrics else None,
        "source_val_accuracy": look(metrics, "source_val", "accuracy"),
        "score": look(metrics, "openset", "score"),
        "threshold": look(metrics, "openset", "threshold"),
        **teacher,
        "seconds": metrics["seconds"] if metrics else None,
    }


def _value(metrics: Mapping[str, Any], section: str, name: str) -> Any:
    return (metrics.get(section) or {}).get(name)
