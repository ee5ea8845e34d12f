"""Registries: who registers, when built-in entries are imported, and what errors say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from culprits import raises

from edgedistill._utils.registry import Registry
from edgedistill.errors import RecipeError

PACKAGE = "entries_of_a_test"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[object]]:
    """A registry whose package registers "first" and "second"."""
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text(
        "from edgedistill._utils.registry import Registry\n"
        f"TABLE = Registry('fruit', '{PACKAGE}', beyond='anything sweet')\n"
    )
    for name in ("first", "second"):
        (package / f"{name}.py").write_text(
            f"from {PACKAGE} import TABLE\n"
            f"@TABLE.register('{name}')\n"
            f"def {name}():\n    '''The {name} of all.\n\n    More.'''\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    table: Registry[object] = __import__(PACKAGE).TABLE
    yield table
    for module in [m for m in sys.modules if m.partition(".")[0] == PACKAGE]:
        del sys.modules[module]


def test_entries_are_imported_at_the_first_look_up(registry: Registry[object]) -> None:
    assert f"{PACKAGE}.first" not in sys.modules
    assert list(registry) == ["first", "second"]
    assert len(registry) == 2 and "first" in registry and "third" not in registry
    assert registry["first"] is sys.modules[f"{PACKAGE}.first"].first  # type: ignore[attr-defined]


def test_a_summary_is_the_first_line_of_the_docstring(registry: Registry[object]) -> None:
    assert registry.summary("second") == "The second of all"


def test_a_missing_name_lists_the_others(registry: Registry[object]) -> None:
    with raises(RecipeError, "fruit", "'frist'", "'first'", "second", "sweet"):
        registry["frist"]


def test_a_name_is_taken_once(registry: Registry[object]) -> None:
    for name in ("first", "own"):
        entry = object()
        if name == "own":
            registry.add(name, entry)
            registry.add(name, entry)
        with pytest.raises(ValueError, match=name):
            registry.add(name, object())
    registry.unregister("own")
    assert "own" not in registry
    registry.add("own", object())


def test_a_resolver_answers_for_names_that_are_not_registered(registry: Registry[object]) -> None:
    @registry.resolver
    def made(name: str) -> object | None:
        return name.upper() if name.startswith("x/") else None

    assert registry["x/a"] == "X/A" and "x/a" in registry and "y/a" not in registry
    assert list(registry) == ["first", "second"]


def test_an_entry_that_cannot_be_imported_is_not_forgotten(
    registry: Registry[object], tmp_path: Path
) -> None:
    broken = tmp_path / PACKAGE / "third.py"
    broken.write_text("import a_library_that_is_not_there\n")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            registry["first"]
