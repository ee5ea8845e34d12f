"""How numbers look in the terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def percent(value: float | None) -> str:
    """A share as per cent with one decimal, `-` where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """`42 s` or `3 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number > 0)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own; 80 columns would fold the cells of a wide table.
        console.width = 160
    console.print(table)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def metric_cells(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Some shares of a metrics mapping, as per cent."""
    return [percent(metrics.get(name)) for name in names]
