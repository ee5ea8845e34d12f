"""The reference pages are what the code says, and leave out no key and no command."""

from __future__ import annotations

import re

import pytest
import typer.main

from docs.scripts import reference
from edgedistill.cli.app import app
from edgedistill.recipe import Recipe
from edgedistill.registries import METHODS


@pytest.mark.parametrize(("path", "text"), list(reference.pages()), ids=lambda value: "")
def test_the_committed_page_is_the_generated_one(path: reference.Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run python docs/scripts/reference.py"


def keys(page: str) -> dict[str, set[str]]:
    """Heading -> the keys in its table."""
    parts = re.split(r"^#+ (?:`\[?(\w+)\]?`|.*)$", page, flags=re.MULTILINE)
    rows = (
        set(re.findall(r"^\| `(\w+)` \| (?:`|required|unset)", text, re.MULTILINE))
        for text in parts[2::2]
    )
    return dict(zip((name or "" for name in parts[1::2]), rows, strict=True))


def test_every_key_of_a_recipe_is_in_its_section() -> None:
    shown = keys(reference.recipe_page())
    for name, field in Recipe.model_fields.items():
        if reference.is_section(field):
            assert shown[name] == set(field.annotation.model_fields)  # type: ignore[union-attr]
        else:
            assert name in shown[""]
    for name, method in METHODS.items():
        assert shown[name] == set(method.Hyper.model_fields)


def test_every_command_has_a_heading() -> None:
    command = typer.main.get_command(app)
    headings = re.findall(r"^## `edgedistill (\w+)`$", reference.cli_page(), re.MULTILINE)
    assert headings == list(command.commands)  # type: ignore[attr-defined]
