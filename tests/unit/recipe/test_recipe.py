"""Recipes: every mistake is one line that names the file and the key, and nothing is lost."""

from __future__ import annotations

import errno
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from culprits import assert_names, raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import RecipeError
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe, differences, load_recipe, resolve, to_toml
from edgedistill.recipe.load import as_recipe

BASE = '[data]\ntarget = "line"\n[method]\nname = "scipd"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "try.toml"
    path.write_text(text)
    return path


def error_of(folder: Path, text: str, *overrides: str) -> str:
    with raises(RecipeError) as caught:
        load_recipe(write(folder, text), overrides)
    return str(caught.value)


def tree(method: str = "scipd", **top: Any) -> dict[str, Any]:
    return {"data": {"target": "line"}, "method": {"name": method}, **top}


@pytest.mark.parametrize(
    ("text", "key", "culprit"),
    [
        (BASE + "[trian]\nlr = 1\n", "trian", "'train'"),
        (BASE + "[train]\nlrr = 1\n", "train.lrr", "'lr'"),
        (BASE + "alpah = 1\n", "method.alpah", "'alpha'"),
        (BASE + '[train]\nlr = "fast"\n', "train.lr", "'fast'"),
        (BASE + "[train]\nsteps = 1.5\n", "train.steps", 1.5),
        (BASE + "[train]\nsteps = true\n", "train.steps", "whole number"),
        (BASE + "[train]\nnesterov = 1\n", "train.nesterov", "true or false"),
        (BASE + "[train]\nlr = -1\n", "train.lr", -1),
        (BASE + "[train]\nlr = inf\n", "train.lr", "finite"),
        (BASE + "[train]\nlr = nan\n", "train.lr", "nan"),
        (BASE + "[train]\nmomentum = 0.0\n", "train", "nesterov = false"),
        (BASE + "[train]\noptimizer = 'sgdd'\n", "train.optimizer", "'sgd', 'adamw' or 'adam'"),
        (BASE + "[views]\nscale = [1]\n", "views.scale", "[low, high]"),
        (BASE + "[views]\nscale = [[1], 2]\n", "views.scale", "[low, high]"),
        (BASE + "[views]\nscale = [1, 0.5]\n", "views", "scale"),
        (BASE + "[views]\nratio = [0, 1]\n", "views", "ratio"),
        (BASE + "[prompts]\ntemplates = ['a photo']\n", "prompts.templates", "{}"),
        (BASE + "[prompts]\ntemplates = ['a {}}']\n", "prompts.templates", "{}"),
        (BASE + "[prompts]\nnames = { cat = [] }\n", "prompts.names", "'cat'"),
        (BASE + "[prompts]\nnames = { cat = [''] }\n", "prompts.names", "'cat'"),
        (BASE + "[student]\nmodel = 'resnet19'\n", "student.model", "'resnet18'"),
        (BASE.replace("scipd", "sipd"), "method.name", "'scipd'"),
        (BASE.replace("scipd", "kd") + "lambda1 = 1\n", "method.lambda1", "scmd"),
        (BASE + "alpha = 'x'\n", "method.alpha", "number"),
        (BASE + "tau = 0\n", "method.tau", 0),
        ("seed = -1\n" + BASE, "seed", -1),
        ("seed = 4294967296\n" + BASE, "seed", 4294967296),
        ("train = 5\n" + BASE, "train", "[train]"),
        ('[method]\nname = "kd"\n', "data", "required"),
        ("[data]\n[method]\n", "method.name", "required"),
        (
            '[data]\nprotocol = "domainbed"\n[method]\nname = "kd"\n',
            "data",
            "target is required",
        ),
        ('[data]\ntarget = "a"\n', "method", "required"),
        ('[data]\ntarget = 3\n[method]\nname = "kd"\n', "data.target", "text"),
        (BASE.replace("[method]", 'known = ["a"]\n[method]'), "data.known", "2 entries"),
        (BASE.replace("[method]", 'known = "a"\n[method]'), "data.known", "list"),
        (BASE + "x = \n", "", "TOML"),
        ("\x00", "", "TOML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(
    tmp_path: Path, text: str, key: str, culprit: str | float
) -> None:
    message = error_of(tmp_path, text)
    prefix = f"{tmp_path / 'try.toml'}: "
    assert message.startswith(f"{prefix}{key}: " if key else prefix)
    assert_names(message.removeprefix(prefix + key), culprit)


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "try.toml"
    path.write_bytes(b"\xff\xfe")
    with raises(RecipeError, path, "TOML"):
        load_recipe(path)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    near = write(tmp_path, BASE)
    with raises(RecipeError, tmp_path / "tyr.toml", near):
        load_recipe(tmp_path / "tyr.toml")
    with raises(RecipeError, tmp_path, os.strerror(errno.EISDIR)):
        load_recipe(tmp_path)


@pytest.mark.parametrize("bad", ["train.lr", "=3", "train..lr=3", ".=1", " =1"])
def test_a_malformed_override_shows_the_form(tmp_path: Path, bad: str) -> None:
    assert error_of(tmp_path, BASE, bad) == f"--set {bad}: write --set section.key=value"


def test_an_override_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert r"caf\udce9" in error_of(tmp_path, BASE, "data.dataset=caf\udce9")


def test_an_override_below_a_value(tmp_path: Path) -> None:
    assert_names(error_of(tmp_path, BASE, "data.target.x=3"), "data.target.x", "'target'")


def test_overrides_are_typed_by_toml_and_the_last_one_wins(tmp_path: Path) -> None:
    recipe = load_recipe(
        write(tmp_path, BASE),
        [
            "train.lr=1",
            "train.lr=0.5",
            "train.nesterov=false",
            "data.target=camera",
            'data.dataset="12"',
            "teacher.model=emoji-clip",
            "views.scale=[0.5, 1]",
            "method.similarity_scale=50",
            "seed=7",
        ],
    )
    assert recipe.train.lr == 0.5
    assert recipe.train.nesterov is False
    assert (recipe.data.target, recipe.data.dataset) == ("camera", "12")
    assert recipe.views.scale == (0.5, 1.0)
    assert recipe.method.hyper["similarity_scale"] == 50
    assert recipe.seed == 7


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[shield]", ["shield"]),
        ("[ star, tall bar ,]", ["star", "tall bar"]),
        ("[star, 'tall bar', \"3\", 4]", ["star", "tall bar", "3", "4"]),
        ('["a, b"]', ["a, b"]),
        ("[]", []),
    ],
)
def test_a_list_of_texts_needs_no_quotes(tmp_path: Path, text: str, names: list[str]) -> None:
    recipe = load_recipe(write(tmp_path, BASE), [f"data.unknown={text}"])
    assert recipe.data.unknown == names


@pytest.mark.parametrize("text", ["[a,,b]", "[,a]", '["a, b", c]'])
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    assert "[a, b]" in error_of(tmp_path, BASE, f"data.unknown={text}")


def test_an_override_is_validated_like_the_file(tmp_path: Path) -> None:
    assert_names(error_of(tmp_path, BASE, "train.lr=fast"), "train.lr", "number", "'fast'")
    assert_names(error_of(tmp_path, BASE, "train.lrr=1"), "train.lrr", "'lr'")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("faithful", [False, True])
def test_the_saved_recipe_reads_back_equal(tmp_path: Path, method: str, faithful: bool) -> None:
    recipe = resolve(
        tree(
            method,
            faithful=faithful,
            prompts={"names": {'a "b"\\': ["é", "x.y"]}},
            views={"ratio": [1, 1]},
        )
    )
    again = load_recipe(write(tmp_path, to_toml(recipe)))
    assert again == recipe
    assert differences(again, recipe) == []


@given(
    lr=st.floats(1e-12, 1e6),
    seed=st.integers(0, 2**32 - 1),
    target=st.text(min_size=1).filter(lambda s: "\x00" not in s and s.isprintable()),
)
def test_any_value_survives_the_round_trip(lr: float, seed: int, target: str) -> None:
    given_tree = {"seed": seed, "data": {"target": target}, "method": {"name": "erm"}}
    recipe = resolve({**given_tree, "train": {"lr": lr}})
    assert resolve(tomllib.loads(to_toml(recipe))) == recipe


def test_the_input_size_is_the_student_s_where_it_has_one(tmp_path: Path) -> None:
    unset, given = (
        resolve(tree(student={"model": "timm/test_vit", **size})) for size in ({}, {"size": 64})
    )
    assert (unset.student.size, given.student.size) == (160, 64)
    assert load_recipe(write(tmp_path, to_toml(unset))).student.size == 160


@pytest.mark.parametrize(
    ("student", "sides"),
    [
        ({}, (96, 128)),
        ({"weights": "none"}, (224, 288)),
        ({"model": "efficientnet_b4", "weights": "imagenet"}, (380, 480)),
        ({"model": "timm/test_vit", "weights": "none"}, (160, 208)),
        ({"size": 64}, (64, 80)),
        ({"size": 1024}, (1024, 1024)),
    ],
)
def test_sizes_follow_the_network_and_its_weights(
    student: dict[str, Any], sides: tuple[int, int]
) -> None:
    recipe = resolve(tree(student=student))
    assert (recipe.student.size, recipe.views.store_size) == sides
    # A given store size stays.
    assert resolve(tree(student=student, views={"store_size": 64})).views.store_size == 64


def value_at(recipe: Recipe, key: str) -> Any:
    section, name = key.split(".")
    return recipe.model_dump()[section][name]


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].faithful_values()])
def test_faithful_turns_every_quirk(method: str) -> None:
    quirks = METHODS[method].faithful_values()
    assert quirks
    plain, faithful = resolve(tree(method)), resolve(tree(method, faithful=True))
    for key, value in quirks.items():
        assert value_at(faithful, key) == value
        assert value_at(plain, key) != value
    # Nothing else moves.
    changed = {line.split(":")[0] for line in differences(plain, faithful)}
    assert changed == {"faithful", *quirks}


def test_faithful_reaches_outside_the_method() -> None:
    recipe = resolve(tree("scipd", faithful=True))
    assert recipe.teacher.normalization == "student"
    assert recipe.train.replacement and recipe.train.double_last_decay
    assert recipe.prompts.keep_underscores
    assert recipe.method.hyper["two_optimizers"] and recipe.method.hyper["double_softmax"]
    assert recipe.train.decay_per_optimizer and recipe.train.decay_after_epochs


@pytest.mark.parametrize(
    ("method", "precision"),
    [("scipd", "fp32"), ("erm", "fp32"), ("clipbase", "fp32"), ("scmd", "fp16")],
)
def test_faithful_fixes_the_precision(method: str, precision: str) -> None:
    assert resolve(tree(method, faithful=True)).train.precision == precision


def test_faithful_clipbase_has_the_authors_similarities() -> None:
    hyper = resolve(tree("clipbase", faithful=True)).method.hyper
    assert hyper == {"similarity_scale": 100.0, "half_similarity": True}


@pytest.mark.parametrize(
    ("key", "value"),
    [("similarity_scale", 50.0), ("two_optimizers", False), ("half_similarity", False)],
)
def test_faithful_and_its_opposite_contradict(key: str, value: Any) -> None:
    wrong = {**tree(faithful=True), "method": {"name": "scipd", key: value}}
    with raises(RecipeError, f"method.{key}", value, "faithful"):
        resolve(wrong)
    with raises(RecipeError, "teacher.normalization", "'own'", "faithful"):
        resolve(tree(faithful=True, teacher={"normalization": "own"}))
    # Saying the same thing twice is fine.
    resolve({**tree(faithful=True), "method": {"name": "scipd", "two_optimizers": True}})


class TestTeacher:
    @pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].needs_teacher])
    def test_own_images_need_one_by_name(self, method: str) -> None:
        own = {"data": {"dataset": "photos", "target": "night"}, "method": {"name": method}}
        with raises(RecipeError, "teacher.model", method, "erm", "ViT-B-32"):
            resolve(own)
        named = resolve({**own, "teacher": {"model": "ViT-B-32", "pretrained": "openai"}})
        assert named.teacher.model == "ViT-B-32"

    def test_a_method_without_one_needs_no_name(self) -> None:
        own = {"data": {"dataset": "photos", "target": "night"}, "method": {"name": "erm"}}
        assert resolve(own).teacher.model is None
        assert resolve(resolve(own).model_dump()) == resolve(own)
        with raises(RecipeError, "teacher.pretrained", "teacher.model"):
            resolve({**own, "teacher": {"pretrained": "openai"}})

    @pytest.mark.parametrize("method", ["scipd", "erm"])
    def test_the_embedded_benchmark_has_its_own(self, method: str) -> None:
        assert resolve(tree(method)).teacher.model == "emoji-clip"
        assert resolve(tree(method, teacher={"model": "ViT-B-32"})).teacher.model == "ViT-B-32"


@pytest.mark.parametrize("method", METHODS)
def test_an_unset_score_is_the_method_s_own(method: str) -> None:
    assert resolve(tree(method)).openset.score == METHODS[method].default_score
    chosen = resolve(tree(method, openset={"score": "max_softmax"}))
    assert chosen.openset.score == "max_softmax"
    assert resolve(tree(method)).openset.keep == 0.95


def test_scmd_without_a_trained_projection_scores_by_logits() -> None:
    own = tree("scmd")
    own["method"] = {**own["method"], "cross_modal": False}
    assert resolve(own).openset.score == "max_logit"
    assert resolve({**own, "openset": {"score": "max_cosine"}}).openset.score == "max_cosine"


@pytest.mark.parametrize("method", METHODS)
def test_only_a_method_with_a_place_among_the_texts_scores_by_cosine(method: str) -> None:
    assert (METHODS[method].default_score == "max_cosine") == METHODS[method].projects


OLD_KEYS = {
    "views.greyscale": ("views.grayscale", 0.25),
    "teacher.normalisation": ("teacher.normalization", "student"),
    "openset.acceptance": ("openset.keep", 0.8),
}


@pytest.mark.parametrize("old", OLD_KEYS)
@pytest.mark.parametrize("way", ["file", "tree", "--set", "override"])
def test_an_old_key_is_read_with_a_warning(tmp_path: Path, old: str, way: str) -> None:
    new, value = OLD_KEYS[old]
    section, key = old.split(".")
    path = write(tmp_path, BASE + (f"[{section}]\n{key} = {value!r}\n" if way == "file" else ""))
    with pytest.warns(FutureWarning) as warned:
        if way == "tree":
            recipe = as_recipe(tree(**{section: {key: value}}))
        elif way == "override":
            recipe = as_recipe(path, {old: value})
        else:
            recipe = load_recipe(path, [f"{old}={value}"] if way == "--set" else [])
    assert_names(str(warned[0].message), old, new)
    assert recipe == resolve(tree(**{section: {new.split(".")[1]: value}}))


@pytest.mark.parametrize(
    "pair", [("openset.acceptance", "openset.keep"), ("openset.keep", "openset.acceptance")]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_override_replaces_the_other_spelling(pair: tuple[str, str]) -> None:
    section, key = pair[0].split(".")
    recipe = as_recipe(tree(**{section: {key: 0.7}}), {pair[1]: 0.8})
    assert recipe.openset.keep == 0.8


def test_both_spellings_of_a_key_are_refused() -> None:
    with raises(RecipeError, "openset.acceptance"):
        resolve(tree(openset={"acceptance": 0.8, "keep": 0.8}))


def test_differences_name_key_and_both_values() -> None:
    a, b = resolve(tree()), resolve(tree("scipd", seed=3, train={"lr": 0.5}))
    assert differences(a, a) == []
    assert differences(a, b) == ["seed: 0, 3", "train.lr: 0.02, 0.5"]
    other = differences(a, resolve(tree("kd")))
    assert other[0] == "method.name: 'scipd', 'kd'"
    assert any(line.startswith("method.alpha: 0.8, None") for line in other)


def test_a_quoted_part_of_an_overridden_key_may_hold_dots(tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    recipe = load_recipe(path, ['prompts.names."a.b"=["x"]', "prompts.names.'c d'=[\"y\"]"])
    assert recipe.prompts.names == {"a.b": ["x"], "c d": ["y"]}
