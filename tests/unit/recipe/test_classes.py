"""Classes files: every mistake is one line that names the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from culprits import Culprit, raises

from edgedistill.errors import RecipeError
from edgedistill.recipe.classes import load_classes
from edgedistill.recipe.schema import PromptsSection


def write(folder: Path, text: str) -> Path:
    path = folder / "classes.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_and_a_mapping_are_the_same(tmp_path: Path) -> None:
    text = '[classes]\n"traffic light" = "light"\ncat = ["cat", "Büsi"]\n'
    mapping = {"traffic light": "light", "cat": ("cat", "Büsi")}
    classes = load_classes(write(tmp_path, text))
    assert classes == load_classes(mapping)
    assert list(classes.classes.items()) == [("traffic light", ["light"]), ("cat", ["cat", "Büsi"])]


def test_templates_and_pool_are_the_runs_unless_given(tmp_path: Path) -> None:
    run = PromptsSection(templates=["a {}"], pool="mean", names={"old": ["o"]})
    plain = load_classes({"cat": "cat"}).prompts(run)
    assert (plain.templates, plain.pool, plain.names) == (["a {}"], "mean", {"cat": ["cat"]})
    text = 'templates = ["the {}"]\npool = "best"\n[classes]\ncat = "cat"\n'
    own = load_classes(write(tmp_path, text)).prompts(run)
    assert (own.templates, own.pool) == (["the {}"], "best")


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ("[class]\na = 'x'\n", ["classes"]),
        ("classes = 'x'\n", ["classes", "table"]),
        ("[classes]\n", ["classes", 1]),
        ("[classes]\na = []\n", ["'a'"]),
        ("[classes]\na = ['']\n", ["'a'"]),
        ("[classes]\na = 3\n", ["classes.a"]),
        ("[classes]\n'' = 'x'\n", ["classes"]),
        ("[classes]\na = 'x'\ntemplates = ['a {}']\n", ["'templates'", "[classes]"]),
        ("[classes]\na = 'x'\npool = 'best'\n", ["'pool'", "[classes]"]),
        ("templates = ['x']\n[classes]\na = 'x'\n", ["templates", "'x'"]),
        ("pool = 'max'\n[classes]\na = 'x'\n", ["pool", "'mean' or 'best'"]),
        ("template = ['a {}']\n[classes]\na = 'x'\n", ["template", "'templates'"]),
        ("[classes\n", ["TOML"]),
        ("[classes]\na = 'x'\na = 'y'\n", ["TOML"]),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, culprits: list[Culprit]) -> None:
    path = write(tmp_path, text)
    with raises(RecipeError, path, *culprits):
        load_classes(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raises(RecipeError, tmp_path / "absent.toml"):
        load_classes(tmp_path / "absent.toml")
