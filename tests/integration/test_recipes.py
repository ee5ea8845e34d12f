"""The shipped recipes: they load, survive being saved, and explain every choice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgedistill.data.emoji.dataset import DOMAINS as EMOJI_DOMAINS
from edgedistill.data.protocols.hdg import published_slots
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.recipe import load_recipe, to_toml
from edgedistill.sweep.plan import make_plan

FOLDER = Path(__file__).parents[2] / "recipes"
EMBEDDED = {
    *(f"{s}_{m}" for s in ("mobilenet", "resnet18", "efficientnet") for m in ("scipd", "scmd")),
    *(f"mobilenet_{method}" for method in ("erm", "kd", "clipbase", "ovd")),
}
ICONS = {f"icons_mobilenet_{method}" for method in ("erm", "kd", "ovd", "scipd", "scmd")}
HDG = {f"{name}_resnet18_scipd" for name in ("pacs", "officehome", "domainnet")}
DOMAINBED = {f"{name}_resnet50_scmd" for name in benchmarks()}
# The authors' hyper-parameters on any domain/class/image tree of those data.
FOLDERS = {"pacs_resnet18_scipd", "officehome_resnet18_scipd", "pacs_resnet50_scmd"}
AUTHORS = HDG | DOMAINBED | FOLDERS
RECIPES = sorted(p for p in FOLDER.rglob("*.toml") if p.parent.name != "sweeps")
SWEEPS = sorted((FOLDER / "sweeps").glob("*.toml"))
KEY = re.compile(r"^\w+\s*=")
COMMENT = re.compile(r"\s# \S")


def test_what_is_shipped() -> None:
    names = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in RECIPES}
    authors = {f"hdg/{stem}" for stem in HDG} | {f"domainbed/{stem}" for stem in DOMAINBED}
    assert names == EMBEDDED | ICONS | FOLDERS | authors


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_loads_and_its_resolved_form_is_the_same_recipe(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    saved = tmp_path / "recipe.toml"
    saved.write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(saved) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_keeps_what_a_user_would_ask_for(path: Path) -> None:
    assert load_recipe(path).openset.keep == 0.95


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_its_name_says_what_it_trains(path: Path) -> None:
    recipe = load_recipe(path)
    *_, student, method = path.stem.split("_")
    assert recipe.method.name == method
    assert recipe.student.model.startswith(student)
    assert recipe.faithful == (path.stem in AUTHORS)
    assert (recipe.data.dataset == "emoji") == (path.stem in EMBEDDED)
    assert (recipe.data.dataset == "icons") == (path.stem in ICONS)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_choice_has_a_comment(path: Path) -> None:
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert [line for line in lines if KEY.match(line) and not COMMENT.search(line)] == []


@pytest.mark.parametrize(
    "path", [p for p in RECIPES if p.stem in AUTHORS], ids=lambda path: path.stem
)
def test_the_authors_recipes_name_real_weights_and_protocols(path: Path) -> None:
    recipe, benchmark = load_recipe(path), path.stem.split("_")[0]
    if path.parent == FOLDER:
        assert recipe.data.dataset.lower() == f"data/{benchmark}"
    else:
        assert (recipe.data.dataset, recipe.data.protocol) == (benchmark, path.parent.name)
    assert recipe.data.target in benchmarks()[benchmark].domains
    assert (recipe.teacher.pretrained, recipe.student.size) == ("openai", 224)
    assert recipe.views.store_size >= recipe.student.size
    assert recipe.student.weights.startswith("imagenet")


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "domainbed").glob("*.toml")), ids=lambda path: path.stem
)
def test_domainbed_validates_as_often_as_its_dataset_says(path: Path) -> None:
    every = 1000 if path.stem.startswith("domainnet") else 300
    assert load_recipe(path).train.eval_every == every


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_s_recipes_all_resolve_and_it_says_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    plan = make_plan(path)
    assert len(plan.runs) > 1
    for run in plan.runs:
        data = run.recipe.data
        targets = benchmarks()[data.dataset].domains if data.root else EMOJI_DOMAINS
        assert data.target in targets
        if data.protocol == "hdg" and data.root:
            published_slots(data.dataset, data.target, data.hybridness or "")


def test_sweeps_that_make_the_papers_tables() -> None:
    runs = {path.stem: len(make_plan(path).runs) for path in SWEEPS}
    # Methods x targets x hybridness x seeds, and trials x targets x draws.
    assert (runs["hdg_pacs"], runs["hdg_officehome"], runs["hdg_domainnet"]) == (144, 144, 216)
    assert {runs[f"domainbed_{name}"] for name in benchmarks()} == {60, 90}
    assert runs["ablation_scipd"] == 16 * 2 * 3
