"""The text of a first recipe: TOML that says what it was written from."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from edgedistill.recipe.scaffold import Entry, comment, recipe_text, toml_value

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.one_of(TEXT, st.integers(-(2**62), 2**62), st.booleans(), st.lists(TEXT)))
def test_a_value_is_read_back(value: str | int | bool | list[str]) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back(value: float) -> None:
    assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}


@given(title=TEXT, value=TEXT, why=TEXT)
def test_a_recipe_has_a_line_for_every_entry(title: str, value: str, why: str) -> None:
    entries = [Entry("key", value, why), comment(why)]
    text = recipe_text(title, {"a": entries, "b": []})
    assert tomllib.loads(text) == {"a": {"key": value}}
    assert len(text.split("\n")) == 5 and text.endswith("\n")
