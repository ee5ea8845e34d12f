"""docs/reference/recipe.md and the schema agree in every key, default and description."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "recipe.md"
HEADING = re.compile(r"^#+ (?:`\[?(\w+)\]?`|Top level)$")
ROW = re.compile(r"^\| `([^`]+)` \| (required|`[^`]*`) \| (.*) \|$")

Key = tuple[str, str]


def documented() -> dict[Key, tuple[str, str]]:
    """(heading, key) -> (default, text) of every table row; the top level's heading is empty."""
    rows: dict[Key, tuple[str, str]] = {}
    heading = None
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            found = HEADING.match(line)
            heading = (found[1] or "") if found else None
        elif line.startswith("| `"):
            row = ROW.match(line)
            assert row and heading is not None, f"not a row of a known section: {line}"
            assert (heading, row[1]) not in rows, f"twice: {line}"
            rows[heading, row[1]] = (row[2].strip("`"), row[3])
    return rows


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", Recipe
    for name, field in Recipe.model_fields.items():
        if is_section(field):
            assert isinstance(field.annotation, type)
            yield name, field.annotation
    for name, method in METHODS.items():
        yield name, method.Hyper


def is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


FIELDS: dict[Key, FieldInfo] = {
    (section, name): field
    for section, model in sections()
    for name, field in model.model_fields.items()
    if not is_section(field)
}


def test_the_reference_names_every_key_and_no_other() -> None:
    assert set(documented()) == set(FIELDS)


def test_every_section_and_method_has_a_heading() -> None:
    lines = set(REFERENCE.read_text(encoding="utf-8").splitlines())
    methods = {f"### `{name}`" for name in METHODS}
    assert methods <= lines
    assert {
        f"## `[{name}]`" for name, field in Recipe.model_fields.items() if is_section(field)
    } <= (lines)


@pytest.mark.parametrize("key", FIELDS, ids=".".join)
def test_the_default_is_the_schema_s(key: Key) -> None:
    field, shown = FIELDS[key], documented()[key][0]
    if field.is_required():
        assert shown == "required"
    elif field.default is None:
        assert shown == "unset"
    else:
        value: Any = tomllib.loads(f"v = {shown}")["v"]
        expected = list(field.default) if isinstance(field.default, tuple) else field.default
        assert type(value) is type(expected)
        # 4/3 is written with four digits.
        assert value == (pytest.approx(expected, abs=5e-5) if is_numbers(expected) else expected)


def is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, float) for v in value)


@pytest.mark.parametrize("key", FIELDS, ids=".".join)
def test_the_text_is_the_schema_s(key: Key) -> None:
    field, text = FIELDS[key], documented()[key][1]
    assert field.description
    said = field.description.rstrip(".")
    if get_origin(field.annotation) is Literal:
        said += "; one of " + ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    assert text == said
