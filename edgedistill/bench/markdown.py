"""A result as Markdown, for a pull request or a page of documentation."""

import re
from collections.abc import Sequence

from edgedistill.bench.result import Result
from edgedistill.bench.sheet import comparisons, grid, notes, sections

# An underscore inside a word and a bracket before a number are not markup.
_MARKS = re.compile(r"[\\`*<|]|\[(?![-+\d])|(?<!\w)_|_(?!\w)")


def to_markdown(result: Result) -> str:
    """Every figure of every model, then the comparisons and the notes."""
    names = [model["name"] for model in result["models"]]
    parts = ["# Benchmark"]
    for section in sections(result):
        parts += [f"## {section.title}", _table(*grid(section, names))]
    compared = comparisons(result)
    if compared:
        head = ["", "figure", "change", "95 % interval", "p", "verdict"]
        rows = [[c.model, c.figure, c.change, c.interval, c.p, c.verdict] for c in compared]
        parts += [f"## Compared with {_text(result['baseline'])}", _table(head, rows, texts=2)]
    parts += ["## How to read it", "\n".join(f"- {_text(line)}" for line in notes(result))]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are text, the others numbers."""
    rule = "|" + "---|" * texts + "---:|" * (len(head) - texts)
    lines = [_line(head), rule, *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(text: str) -> str:
    """Escape characters that Markdown reads as marks or as the end of a cell."""
    return _MARKS.sub(r"\\\g<0>", text)
