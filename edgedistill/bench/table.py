"""A result in the terminal."""

from itertools import groupby

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgedistill._utils.printable import printable
from edgedistill.bench.result import Result
from edgedistill.bench.sheet import TIME, TITLES, Compared, RowGroup, comparisons, notes, sections

_WIDE = 160
# Wider than any table.
_UNLIMITED = 10_000
# Beside the text of a column: a line and a space on either side.
_FRAME = 3
# In the terminal; the page and the Markdown show every figure.
_COMPARED = (TITLES["h_score"], TITLES["accuracy"], TITLES["auroc"], TIME)


def print_result(result: Result, console: Console | None = None) -> None:
    """Print every figure of every model, the comparisons that matter most, and the notes.

    As tables where their rows fit the width, else a figure a line.

    Raises: OSError when what was printed could not be written, also for a pipe that is closed.
    """
    console = console or _Console(highlight=False)
    if not console.is_terminal:
        # A pipe has no width of its own.
        console.width = _WIDE
    names = [model["name"] for model in result["models"]]
    shown = sections(result)
    at_once = _abreast(shown, console.width)
    for start in range(0, len(names), at_once or 1):
        if at_once:
            console.print(_figures(shown, names, start, min(start + at_once, len(names))))
        else:
            _list_figures(console, shown, names, start)
    compared = [row for row in comparisons(result) if row.figure.startswith(_COMPARED)]
    if compared:
        table = _compared(compared, result["baseline"])
        unfolded = console.options.update(max_width=_UNLIMITED)
        if console.measure(table, options=unfolded).maximum <= console.width:
            console.print(table)
        else:
            _list_compared(console, compared, result["baseline"])
    for line in notes(result):
        console.print(_text(line), soft_wrap=True)


def _text(text: str, style: str = "") -> Text:
    """Text as it is: Rich would read [brackets] and :colons: of a name as styles and emoji."""
    return Text(printable(text, "utf-8"), style)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        # Rich would end the process here, with a status of its own.
        raise


def _abreast(shown: list[RowGroup], width: int) -> int:
    """Number of models that fit side by side; 0 where one does not."""
    labels = [text for s in shown for text in (s.title, *(f"  {row.label}" for row in s.rows))]
    cells = [cell for section in shown for row in section.rows for cell in row.cells]
    room = width - 1 - _FRAME - max(map(len, labels))
    return max(0, room // (_FRAME + max(map(len, cells))))


def _figures(shown: list[RowGroup], names: list[str], start: int, stop: int) -> Table:
    table = Table(header_style="bold", show_edge=True)
    table.add_column("", no_wrap=True)
    for name in names[start:stop]:
        table.add_column(_text(name), justify="right", overflow="fold")
    for section in shown:
        table.add_section()
        table.add_row(_text(section.title), style="bold")
        for row in section.rows:
            table.add_row(_text(f"  {row.label}"), *map(_text, row.cells[start:stop]))
    return table


def _list_figures(console: Console, shown: list[RowGroup], names: list[str], model: int) -> None:
    console.print(_text(names[model], "bold"))
    for section in shown:
        console.print(_text(section.title, "bold"))
        for row in section.rows:
            _line(console, f"{row.label}: {row.cells[model]}")


def _list_compared(console: Console, compared: list[Compared], baseline: str) -> None:
    console.print(_text(f"Compared with {baseline}", "bold"))
    for model, figures in groupby(compared, key=lambda row: row.model):
        console.print(_text(model, "bold"))
        for row in figures:
            p = f", p {row.p}" if row.p else ""
            _line(console, f"{row.figure}: {row.change} {row.interval}{p}, {row.verdict}")


def _line(console: Console, text: str) -> None:
    console.print(Padding(_text(text), (0, 0, 0, 2), expand=False))


def _compared(compared: list[Compared], baseline: str) -> Table:
    table = Table(
        title=_text(f"Compared with {baseline}"),
        title_justify="left",
        title_style="bold",
        header_style="bold",
    )
    table.add_column("", overflow="fold")
    for column in ("change", "95 % interval", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for model, figures in groupby(compared, key=lambda row: row.model):
        table.add_section()
        table.add_row(_text(model, "bold"))
        for row in figures:
            cells = (f"  {row.figure}", row.change, row.interval, row.p, row.verdict)
            table.add_row(*map(_text, cells))
    return table
