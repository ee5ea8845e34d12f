"""A sweep file becomes a list of checked recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from culprits import raises

from edgedistill.errors import RecipeError, UsageError
from edgedistill.recipe.load import to_toml
from edgedistill.sweep.plan import Plan, chosen, make_plan

PlanOf = Callable[[str], Plan]


def test_a_grid_is_every_combination_with_seeds_last(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [grid]
        seed = [0, 1]
        data.target = ["line", "camera"]
        "method.alpha" = [0.0, 0.8]
        """
    )
    assert [run.name for run in plan.runs] == [
        "s0-line-alpha0.0",
        "s0-line-alpha0.8",
        "s0-camera-alpha0.0",
        "s0-camera-alpha0.8",
        "s1-line-alpha0.0",
        "s1-line-alpha0.8",
        "s1-camera-alpha0.0",
        "s1-camera-alpha0.8",
    ]
    assert plan.replicates == ("seed",) and plan.name == "grid"
    last = plan.runs[-1]
    assert last.values == {"seed": 1, "data.target": "camera", "method.alpha": 0.8}
    assert (last.recipe.seed, last.recipe.data.target) == (1, "camera")
    assert last.recipe.method.hyper["alpha"] == 0.8


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_old_spelling_replaces_the_new_one_of_the_recipe(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [set]
        openset.keep = 0.7
        [grid]
        openset.acceptance = [0.8, 0.9]
        """
    )
    assert [run.recipe.openset.keep for run in plan.runs] == [0.8, 0.9]


def test_variants_change_fields_together_or_start_from_their_own_recipe(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [set]
        train.steps = 7
        [variants.method]
        full = {}
        plain = { method.score_perturbation = false, method.beta = 0 }
        scmd = { recipe = "other.toml" }
        erm = { "method.name" = "erm" }
        """
    )
    full, plain, scmd, erm = (run.recipe for run in plan.runs)
    assert [run.name for run in plan.runs] == ["full", "plain", "scmd", "erm"]
    assert all(run.recipe.train.steps == 7 for run in plan.runs)
    assert (full.method.hyper["alpha"], full.method.hyper["beta"]) == (0.5, 0.1)
    assert (plain.method.hyper["score_perturbation"], plain.method.hyper["beta"]) == (False, 0)
    assert (scmd.method.name, scmd.method.hyper["temperature"]) == ("scmd", 2.5)
    # SCI-PD's own hyper-parameters do not follow into another method.
    assert (erm.method.name, erm.method.hyper) == ("erm", {})


def test_the_same_file_gives_the_same_plan(plan_of: PlanOf) -> None:
    text = 'recipe = "base.toml"\n[grid]\nseed = [0, 1]\n'
    first, second = plan_of(text), plan_of(text)
    assert [to_toml(r.recipe) for r in first.runs] == [to_toml(r.recipe) for r in second.runs]


def test_hybridness_is_an_axis(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        set.data.protocol = "hdg"
        grid.data.hybridness = ["0", "1/6", 1]
        """
    )
    assert [run.name for run in plan.runs] == ["h0", "h1_6", "h1"]
    assert [run.recipe.data.hybridness for run in plan.runs] == ["0", "1/6", "1"]


def test_runs_that_share_the_teacher_s_pass_are_counted(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [grid]
        seed = [0, 1]
        data.target = ["line", "camera"]
        teacher.model = ["emoji-clip", "ViT-B-16"]
        [variants.views]
        cached = {}
        fly = { views.count = 0 }
        """
    )
    assert (len(plan.runs), plan.view_caches, plan.on_the_fly) == (16, 2, 8)
    assert plan_of('recipe = "base.toml"\nset.method.name = "erm"').view_caches == 0


def test_hyper_parameters_follow_the_trial(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "other.toml"
        tune = ["hparams_seed"]
        [grid]
        hparams_seed = [0, 1]
        data.split_seed = [0, 1]
        """
    )
    hyper = {run.name: run.recipe.method.hyper["temperature"] for run in plan.runs}
    assert hyper["hparams_seed0-split0"] == hyper["hparams_seed0-split1"] == 2.5
    assert hyper["hparams_seed1-split0"] == pytest.approx(3.599418, abs=1e-6)
    assert hyper["hparams_seed1-split1"] != hyper["hparams_seed1-split0"]
    assert plan.tune == ("hparams_seed",) and plan.replicates == ("data.split_seed",)


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ("grid.seed = [0]", ['recipe = "FILE.toml"']),
        ('recipe = "no.toml"\n', ["no.toml"]),
        ('recipe = "base.toml"\ngird.seed = [0]', ["gird", "'grid'"]),
        ('recipe = "base.toml"\ngrid.seed = 0', ["grid.seed", 0]),
        ('recipe = "base.toml"\ngrid.seed = []', ["grid.seed", "[]"]),
        ('recipe = "base.toml"\ngrid.seed = [0, 0]', ["grid.seed", "twice"]),
        ('recipe = "base.toml"\ngrid.data.target = ["a b", "a_b"]', ["a_b", "two runs"]),
        ('recipe = "base.toml"\ngrid.train.setps = [1]', ["run setps1", "train.setps", "'steps'"]),
        ('recipe = "base.toml"\ngrid.seed = [-1]', ["run s-1", "seed", -1]),
        (
            'recipe = "base.toml"\nreplicates = ["sed"]\ngrid.seed = [0]',
            ["replicates", "'sed'", "'seed'"],
        ),
        ('recipe = "base.toml"\ntune = ["seed"]\ngrid.seed = [0]', ["seed", "replicates", "tune"]),
        ('recipe = "base.toml"\nspread = "range"', ["spread", "'std' or 'sem'"]),
        ('recipe = "base.toml"\nvariants.seed.a = {}', ["variants.seed"]),
        ('recipe = "base.toml"\ngrid.hparams_seed = [1]', ["hparams_seed", "method scipd"]),
        ('recipe = "base.toml"\ngrid.hparams_seed = ["a"]', ["grid.hparams_seed", "'a'"]),
        ('recipe = "base.toml"\ngrid.hparams_seed = [1.5]', ["grid.hparams_seed", 1.5]),
        (
            'recipe = "base.toml"\ngrid.hparams_seed = [1]\ngrid.data.split_seed = ["x"]',
            ["data.split_seed", "'x'"],
        ),
        ('recipe = "base.toml"\ngrid.hparams_seed = [1]\nset.data = 3', ["data"]),
        ('recipe = "base.toml"\ngrid.hparams_seed = [1]\nset.method = "scmd"', ["method"]),
        ('variants.m.a.recipe = ["x.toml"]', ["variants.m.a.recipe"]),
        (
            'variants.a.x.recipe = "base.toml"\nvariants.b.y.recipe = "other.toml"',
            ["base.toml", "other.toml"],
        ),
        ("recipe = ", ["TOML"]),
    ],
)
def test_mistakes_are_one_line(
    sweep_of: Callable[[str], Path], text: str, culprits: list[str | float]
) -> None:
    path = sweep_of(text)
    with raises(RecipeError, path.parent, *culprits):
        make_plan(path)


def test_a_field_of_a_value_is_refused(sweep_of: Callable[[str], Path]) -> None:
    path = sweep_of('recipe = "base.toml"\nset.data.target = "x"\ngrid.data.target.name = ["y"]')
    with raises(RecipeError, path, "data.target.name", "'target'"):
        make_plan(path)


PARTS = """
recipe = "base.toml"
grid.data.target = ["line", "camera"]
grid.seed = [0, 1]
"""


def test_a_part_of_a_grid_is_what_all_conditions_leave(plan_of: PlanOf) -> None:
    plan = plan_of(PARTS)
    assert chosen(plan, []) == plan.runs
    assert [run.name for run in chosen(plan, ["seed=1"])] == ["line-s1", "camera-s1"]
    assert [run.name for run in chosen(plan, ["seed=0, 1", "data.target=camera"])] == [
        "camera-s0",
        "camera-s1",
    ]


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ("seed", ["--only seed", "AXIS=VALUE"]),
        ("sed=0", ["--only sed=0", "'sed'", "'seed'"]),
        ("seed=0,2", ["--only seed=0,2", "seed", "'2'", "0, 1"]),
        ("data.target=", ["--only data.target=", "data.target", "''"]),
    ],
)
def test_a_part_that_is_not_there_is_one_line(
    plan_of: PlanOf, text: str, culprits: list[str]
) -> None:
    with raises(UsageError, *culprits):
        chosen(plan_of(PARTS), [text])


def test_a_sweep_file_that_is_not_there(tmp_path: Path) -> None:
    with raises(RecipeError, tmp_path / "no.toml"):
        make_plan(tmp_path / "no.toml")
