"""The shipped recipes: they load, survive being saved, and explain every choice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgedistill.recipe import load_recipe, to_toml

FOLDER = Path(__file__).parents[1] / "recipes"
EMBEDDED = {
    *(f"{s}_{m}" for s in ("mobilenet", "resnet18", "efficientnet") for m in ("scipd", "scmd")),
    *(f"mobilenet_{method}" for method in ("erm", "kd", "clipbase")),
}
AUTHORS = {"pacs_resnet18_scipd", "officehome_resnet18_scipd", "pacs_resnet50_scmd"}
RECIPES = sorted(FOLDER.glob("*.toml"))
KEY = re.compile(r"^\w+\s*=")
COMMENT = re.compile(r"\s# \S")


def test_what_is_shipped() -> None:
    assert {path.stem for path in RECIPES} == EMBEDDED | AUTHORS


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads_and_its_resolved_form_is_the_same_recipe(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    saved = tmp_path / "recipe.toml"
    saved.write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(saved) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_its_name_says_what_it_trains(path: Path) -> None:
    recipe = load_recipe(path)
    *_, student, method = path.stem.split("_")
    assert recipe.method.name == method
    assert recipe.student.model.startswith(student)
    assert recipe.faithful == (path.stem in AUTHORS)
    assert (recipe.data.dataset == "emoji") == (path.stem in EMBEDDED)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_choice_has_a_comment(path: Path) -> None:
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert [line for line in lines if KEY.match(line) and not COMMENT.search(line)] == []


@pytest.mark.parametrize("stem", sorted(AUTHORS))
def test_the_authors_recipes_name_real_weights(stem: str) -> None:
    recipe = load_recipe(FOLDER / f"{stem}.toml")
    assert (recipe.teacher.pretrained, recipe.student.size) == ("openai", 224)
    assert recipe.views.store_size >= recipe.student.size
    assert recipe.student.weights.startswith("imagenet")
