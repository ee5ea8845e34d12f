"""Relative paths of recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedistill.recipe import to_toml
from edgedistill.recipe.load import as_recipe, load_recipe, resolve

TEXT = """
[data]
dataset = "photos"
target = "./night"
[teacher]
model = "local-dir:clip"
[student]
weights = "start.safetensors"
[method]
name = "scipd"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe beside what it names, seen from another folder."""
    folder = tmp_path / "project"
    for name in ("photos", "night", "clip"):
        (folder / name).mkdir(parents=True)
    (folder / "start.safetensors").touch()
    (folder / "recipe.toml").write_text(TEXT)
    (tmp_path / "elsewhere" / "night").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_a_path_starts_from_the_file_that_says_it(project: Path) -> None:
    recipe = load_recipe(Path("../project/recipe.toml"))
    assert recipe.data.dataset == str(project / "photos")
    assert recipe.data.target == str(project / "night")
    assert recipe.teacher.model == f"local-dir:{project / 'clip'}"
    assert recipe.student.weights == str(project / "start.safetensors")


def test_the_saved_recipe_names_the_same_files_from_anywhere(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load_recipe(project / "recipe.toml")
    saved = project / "runs" / "a" / "recipe.toml"
    saved.parent.mkdir(parents=True)
    saved.write_text(to_toml(recipe))
    monkeypatch.chdir("/")
    assert load_recipe(saved) == recipe


def test_an_override_starts_from_the_current_directory(project: Path) -> None:
    here = Path.cwd()
    for overrides in (["data.target=./night"], {"data.target": "./night"}):
        recipe = load_recipe(project / "recipe.toml", overrides)
        assert recipe.data.target == str(here / "night")


def test_a_target_without_a_slash_is_a_folder_beside_the_file_unless_it_is_a_domain(
    project: Path,
) -> None:
    recipe = project / "recipe.toml"
    recipe.write_text(TEXT.replace("./night", "night"))
    assert load_recipe(recipe).data.target == str(project / "night")
    (project / "photos" / "night").mkdir()
    assert load_recipe(recipe).data.target == "night"
    # The domains of a table may have folders beside it, and those of another root anywhere.
    (project / "photos.csv").touch()
    table = TEXT.replace("./night", "night").replace('"photos"', '"photos.csv"')
    recipe.write_text(table)
    assert load_recipe(recipe).data.target == "night"
    recipe.write_text(table.replace("[teacher]", 'root = "elsewhere"\n[teacher]'))
    assert load_recipe(recipe).data.target == "night"


def test_what_is_in_neither_folder_stays_as_it_is(project: Path) -> None:
    recipe = load_recipe(project / "recipe.toml", ["data.dataset=nowhere"])
    assert recipe.data.dataset == "nowhere"


def test_names_are_no_paths_even_beside_such_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("emoji", "line", "embedded", "emoji-clip"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    tree: dict[str, Any] = {
        "data": {"dataset": "emoji", "target": "line"},
        "student": {"weights": "embedded"},
        "teacher": {"model": "emoji-clip"},
        "method": {"name": "scipd"},
    }
    recipe = resolve(tree)
    again = as_recipe(tree)
    assert again == recipe
    assert (again.data.dataset, again.data.target) == ("emoji", "line")
