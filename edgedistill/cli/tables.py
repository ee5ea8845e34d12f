"""Output of commands on stdout: tables, lines and JSON. Rich is imported when it is needed."""

import codecs
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgedistill._utils.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# Wider than any table, in characters.
_UNBOUNDED = 100_000


def percent(value: float | None) -> str:
    """A share as per cent with one decimal, `-` where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """`42 s` or `3 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; the first column is text, the others are numbers.

    On a terminal that is too narrow, rows become columns where they fit; else cells are folded.
    """
    from rich.console import Console

    console = Console(highlight=False)
    table = _table(title, columns, rows)
    width = _width(table)
    if not console.is_terminal:
        # A pipe has no width of its own.
        console.width = width
    elif width > console.width:
        first, *others = zip(columns, *rows, strict=True)
        turned = _table(title, first, others)
        table = turned if _width(turned) <= console.width else table
    console.print(table)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    from rich.table import Table

    table = Table(title=_text(title), title_justify="left", title_style="bold", header_style="bold")
    for number, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(_text(column), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def _width(table: "Table") -> int:
    """Characters that a table takes without folded cells."""
    from rich.console import Console

    return Console(width=_UNBOUNDED).measure(table).maximum


def print_lines(*lines: str) -> None:
    """Lines on stdout, not wrapped; what cannot be printed is escaped."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(_text(line))


def _text(text: str) -> "Text":
    """Text as it is: Rich would read [brackets] and :colons: of a name as styles and emoji."""
    from rich.text import Text

    return Text(printable(text, sys.stdout.encoding))


def print_json(value: Any) -> None:
    """JSON on stdout; dataclasses become objects, paths texts."""
    import json

    utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    text = json.dumps(value, indent=2, ensure_ascii=not utf8, default=_plain)
    # The bytes of names that are not UTF-8 become escapes, which JSON reads back.
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _plain(value: Any) -> Any:
    from dataclasses import asdict, is_dataclass

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def metric_cells(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Some shares of a metrics mapping, as per cent."""
    return [percent(metrics.get(name)) for name in names]
