"""Strategies of damaged documents: TOML, JSON and CSV that parse, with other values in them."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from datetime import date, time
from typing import Any

import tomli_w
from hypothesis import strategies as st

_TEXT = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", ".", "..", "/", "~", "emoji", "erm", "a\nb", "[x]", "nan", "é", "漢"]
    ),
)
_NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 1e308]),
    st.floats(),
)


def _trees(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
        max_leaves=5,
    )


# TOML has 64-bit integers and times, JSON null.
_TOML = _trees(
    st.one_of(
        _TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(),
        st.just(date(2026, 1, 2)), st.just(time(3, 4)),
    )
)  # fmt: skip
_JSON = _trees(st.one_of(_TEXT, st.booleans(), st.none(), _NUMBERS))


@st.composite
def documents(draw: st.DrawFn, example: bytes, form: str) -> bytes:
    """A sound document of this form, with one to three entries changed, added or removed."""
    if form == "csv":
        return _csv(draw, example)
    values = _TOML if form == "toml" else _JSON
    tree = tomllib.loads(example.decode()) if form == "toml" else json.loads(example)
    for _ in range(draw(st.integers(1, 3))):
        _change(draw, tree, values)
    if form == "json":
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    return tomli_w.dumps(tree).encode("utf-8", "surrogatepass")


def _change(draw: st.DrawFn, tree: dict[str, Any], values: st.SearchStrategy[Any]) -> None:
    table = tree
    while draw(st.booleans()):
        inner = [value for value in table.values() if isinstance(value, dict)]
        if not inner:
            break
        table = draw(st.sampled_from(inner))
    match draw(st.sampled_from(["set", "set", "set", "add", "remove"])):
        case "add":
            table[draw(_TEXT)] = draw(values)
        case "set" if table:
            table[draw(st.sampled_from(sorted(table)))] = draw(values)
        case "remove" if table:
            del table[draw(st.sampled_from(sorted(table)))]


def _csv(draw: st.DrawFn, example: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(example.decode("utf-8-sig"))))
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(rows))
        match draw(st.sampled_from(["set", "add", "remove", "repeat"])):
            case "set" if row:
                row[draw(st.integers(0, len(row) - 1))] = draw(_TEXT)
            case "add":
                row.append(draw(_TEXT))
            case "remove" if row:
                row.pop()
            case "repeat":
                rows.append(list(row))
    file = io.StringIO()
    csv.writer(file, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))).writerows(
        rows
    )
    return file.getvalue().encode("utf-8", "surrogatepass")
