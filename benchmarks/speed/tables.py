"""Tables of results, on the screen and on disk; free of torch, which `render.py` does without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Shown:
    """A table as it is printed and as `render.py` puts it into the documentation."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def results_file(script: str) -> Path:
    """Default file of the results of a script, given its `__file__`."""
    return RESULTS / f"{Path(script).stem}.json"


def show(shown: Shown) -> None:
    """A table on stdout."""
    table = Table(title=shown.title, title_justify="left")
    for number, column in enumerate(shown.columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in shown.rows:
        table.add_row(*map(cell, row))
    Console(width=160).print(table)


def cell(value: object) -> str:
    """A number with three digits that count, a whole one with all, anything else as it is."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
