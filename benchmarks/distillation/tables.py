"""Tables of the comparison, from its record."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from benchmarks.distillation.plan import Row, Settings
from benchmarks.emoji.swept import points, wrapped

MARK = "<!-- distillation -->"
Place = tuple[str, int]


def columns_of(settings: Settings) -> dict[str, str]:
    """Keys of `flat` that are shown, with their heads."""
    at = {f"h_score_{keep}": f"H at {keep:g}" for keep in settings.keep_rates}
    return {
        "accuracy": "accuracy",
        **at,
        "best_h_score": "H best",
        "oracle_h_score": "H oracle",
        "auroc": "AUROC",
        f"known_{settings.keep_rates[0]}": f"known kept at {settings.keep_rates[0]:g}",
    }


def flat(row: Row, settings: Settings) -> dict[str, Any]:
    """A run's numbers, those at a keep rate under keys of their own."""
    numbers = dict(row)
    for keep, h_score, known in zip(
        settings.keep_rates, row["h_scores"], row["known_acceptance"], strict=True
    ):
        numbers |= {f"h_score_{keep}": h_score, f"known_{keep}": known}
    return numbers


def document(record: Mapping[str, Any], settings: Settings) -> str:
    """Everything between the marks: the tables of every task, student and start."""
    rows = [
        flat(row, settings)
        for row in record["rows"]
        if row["kind"] == "run" and not row.get("diverged")
    ]
    parts = [
        _section(rows, settings, *group)
        for group in dict.fromkeys((r["task"], r["student"], r["start"]) for r in rows)
    ]
    diverged = [row for row in record["rows"] if row["kind"] == "run" and row.get("diverged")]
    if diverged:
        names = "; ".join(
            " ".join(str(row[key]) for key in ("student", "start", "target", "method", "number"))
            for row in diverged
        )
        parts.append(wrapped(f"Diverged, and in no table: {names}."))
    return "\n\n".join(parts) if parts else "Not measured yet."


def _section(rows: Sequence[Row], settings: Settings, task: str, student: str, start: str) -> str:
    group = [r for r in rows if (r["task"], r["student"], r["start"]) == (task, student, start)]
    methods = [m for m in settings.methods if any(r["method"] == m for r in group)]
    targets = list(dict.fromkeys(r["target"] for r in group))
    parts = [f"### {student}, {start} start weights, `{task}`"]
    if len(targets) > 1:
        parts += [
            f"Mean over {', '.join(f'`{t}`' for t in targets)}:",
            _table(group, methods, targets, settings),
        ]
    for target in targets:
        of_target = [r for r in group if r["target"] == target]
        parts += [f"Target `{target}`:", _table(of_target, methods, [target], settings)]
    for reference in settings.reference:
        if reference in methods and len(methods) > 1:
            parts += [
                f"`{reference}` minus the others, points, with 95 % intervals:",
                _differences(group, methods, reference, settings),
            ]
    return "\n\n".join(parts)


def _table(
    group: Sequence[Row], methods: Sequence[str], targets: Sequence[str], settings: Settings
) -> str:
    """Methods with mean ± deviation over seeds; a seed counts where it has all targets."""
    columns = columns_of(settings)
    head = ["method", *columns.values(), "training, ERM = 1", "seeds"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    erm = _seconds(group, "erm")
    for method in methods:
        runs = {(r["target"], r["number"]): r for r in group if r["method"] == method}
        seeds = sorted(
            s for s in {s for _, s in runs} if all((target, s) in runs for target in targets)
        )
        cells = [
            points([float(np.mean([runs[t, s][key] for t in targets])) for s in seeds])
            for key in columns
        ]
        seconds = _seconds(group, method)
        cost = f"{seconds / erm:.2f}" if erm and seconds is not None else "–"
        lines.append(f"| {method} | {' | '.join(cells)} | {cost} | {len(seeds)} |")
    return "\n".join(lines)


def _seconds(group: Sequence[Row], method: str) -> float | None:
    values = [r["training_seconds"] for r in group if r["method"] == method]
    values = [seconds for seconds in values if seconds is not None]
    return float(np.mean(values)) if values else None


def paired(
    group: Sequence[Row], method: str, reference: str, key: str
) -> tuple[float, float, float] | None:
    """Mean difference of two methods over the pairs of target and seed, with a 95 % t interval.

    None with fewer than two pairs.
    """
    sides: list[dict[Place, float]] = [
        {(r["target"], r["number"]): r[key] for r in group if r["method"] == name}
        for name in (reference, method)
    ]
    places = sorted(sides[0].keys() & sides[1].keys())
    if len(places) < 2:
        return None
    left, right = ([side[place] for place in places] for side in sides)
    difference = float(np.mean(left) - np.mean(right))
    if len({a - b for a, b in zip(left, right, strict=True)}) == 1:
        return difference, difference, difference
    interval = ttest_rel(left, right).confidence_interval(0.95)
    return difference, float(interval.low), float(interval.high)


def _differences(
    group: Sequence[Row], methods: Sequence[str], reference: str, settings: Settings
) -> str:
    columns = {k: v for k, v in columns_of(settings).items() if not k.startswith("known")}
    lines = [f"| minus | {' | '.join(columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for method in methods:
        if method == reference:
            continue
        cells = []
        for key in columns:
            result = paired(group, method, reference, key)
            if result is None:
                cells.append("–")
                continue
            mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in result)
            cells.append(f"{mean} [{low}, {high}]")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)
