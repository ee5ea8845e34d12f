"""The runs of a sweep file, with the resolved recipe of each."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from edgedistill._utils.suggestions import choices
from edgedistill.errors import RecipeError, UsageError
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import read_tree, resolve, set_value
from edgedistill.recipe.paths import absolute_value
from edgedistill.sweep.spec import (
    HPARAMS_SEED,
    SEEDS,
    ExportSpec,
    SweepSpec,
    axes_of,
    read_sweep,
    replicates_of,
)

_LONGEST_NAME = 100


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep; `values`: axis -> its value."""

    name: str
    values: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep.

    Attributes:
        name: the sweep file's, without its ending.
        runs: in the order they start.
        axes: axis -> its values, in order.
        replicates, tune, spread, export: see `SweepSpec`.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    axes: dict[str, list[Any]]
    replicates: tuple[str, ...]
    tune: tuple[str, ...]
    spread: str
    export: ExportSpec | None = None

    @property
    def view_caches(self) -> int:
        """Number of view caches that the runs share."""
        return len({key for run in self.runs if (key := _cache_key(run.recipe)) is not None})

    @property
    def on_the_fly(self) -> int:
        """Number of runs that run the teacher in every step instead."""
        return sum(r.recipe.views.count == 0 and _needs_teacher(r.recipe) for r in self.runs)


def one_per_cache(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Runs that together use every image store and view cache of all runs."""
    covered: set[Any] = set()
    chosen = []
    # A run with a teacher stores all images that one without would.
    for run in sorted(runs, key=lambda run: _cache_key(run.recipe) is None):
        recipe = run.recipe
        images = (recipe.data.dataset, recipe.data.root)
        needs: set[Any] = {(images, recipe.views.store_size), (images, recipe.student.size)}
        needs |= {_cache_key(recipe)} - {None}
        if METHODS[recipe.method.name].uses_unlabelled:
            needs |= {(_cache_key(recipe), entry) for entry in recipe.data.unlabelled}
        if not needs <= covered:
            covered |= needs
            chosen.append(run)
    return chosen


def chosen(plan: Plan, only: Iterable[str]) -> tuple[PlannedRun, ...]:
    """The runs of a plan that satisfy every filter `AXIS=VALUE[,VALUE...]`.

    Raises:
        UsageError: a filter of another form, or no such axis or value.
    """
    runs = plan.runs
    for text in only:
        axis, equals, values = text.partition("=")
        if not equals:
            raise UsageError(f"--only {text}: is not AXIS=VALUE, as in --only seed=0,1")
        if axis not in plan.axes:
            raise UsageError(f"--only {text}: no axis {axis!r}; {choices(axis, [*plan.axes])}")
        allowed = [str(value) for value in plan.axes[axis]]
        wanted = [value.strip() for value in values.split(",")]
        for value in wanted:
            if value not in allowed:
                raise UsageError(
                    f"--only {text}: {axis} has no value {value!r}; {choices(value, allowed)}"
                )
        runs = tuple(run for run in runs if str(run.values[axis]) in wanted)
    return runs


def make_plan(path: Path) -> Plan:
    """Read a sweep file and resolve the recipe of every run.

    Replicates change fastest last: all cells of the results have one seed before any has two.

    Raises:
        RecipeError: the file or a recipe is not valid; names the run.
    """
    spec = read_sweep(path)
    replicates = replicates_of(spec)
    axes: dict[str, list[Any]] = {
        axis: list(spec.variants[axis]) if axis in spec.variants else list(spec.grid[axis])
        for axis in axes_of(spec)
    }
    order = [a for a in axes if a in replicates] + [a for a in axes if a not in replicates]
    bases: dict[str, dict[str, Any]] = {}
    runs = []
    for combination in product(*(axes[axis] for axis in order)):
        picked = dict(zip(order, combination, strict=True))
        values = {axis: picked[axis] for axis in axes}
        name = _name(values)
        tree = _tree(spec, path, values, bases)
        recipe = resolve(tree, f"{path}: run {name}")
        if HPARAMS_SEED in values:
            _draw_hyperparameters(tree, recipe, values[HPARAMS_SEED], path)
            recipe = resolve(tree, f"{path}: run {name}")
        runs.append(PlannedRun(name, values, recipe))
    _refuse_same(runs, path)
    return Plan(
        path.stem,
        tuple(runs),
        axes,
        tuple(replicates),
        tuple(spec.tune),
        spec.spread,
        spec.export,
    )


def _tree(
    spec: SweepSpec, path: Path, values: Mapping[str, Any], bases: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    chosen = [spec.variants[axis][label] for axis, label in values.items() if axis in spec.variants]
    recipes = [fields["recipe"] for fields in chosen if "recipe" in fields]
    if len(recipes) > 1:
        raise RecipeError(f"{path}: a run has two recipes, {recipes[0]} and {recipes[1]}")
    base = recipes[0] if recipes else spec.recipe
    if base is None:
        raise RecipeError(f'{path}: recipe: is required, write recipe = "FILE.toml" at the top')
    if base not in bases:
        bases[base] = read_tree(path.parent / str(base))
    tree = deepcopy(bases[base])
    fields = dict(spec.set)
    for variant in chosen:
        fields |= {key: value for key, value in variant.items() if key != "recipe"}
    fields |= {k: v for k, v in values.items() if k in spec.grid and k != HPARAMS_SEED}
    # A method's own fields mean nothing until it is known which method.
    for key in sorted(fields, key=lambda key: key != "method.name"):
        _assign(tree, key, fields[key], path)
    return tree


def _draw_hyperparameters(tree: dict[str, Any], recipe: Recipe, seed: int, path: Path) -> None:
    values = METHODS[recipe.method.name].draw_hyperparameters(seed, recipe.data.split_seed)
    if values is None:
        raise RecipeError(
            f"{path}: {HPARAMS_SEED}: method {recipe.method.name} has no published random search"
        )
    for key, value in values.items():
        _assign(tree, key, value, path)


def _assign(tree: dict[str, Any], key: str, value: Any, path: Path) -> None:
    method = tree.get("method")
    if key == "method.name" and isinstance(method, dict) and method.get("name") != value:
        # Another method has other hyper-parameters.
        method.clear()
    keys = key.split(".")
    absolute = absolute_value(tuple(keys), value, path.parent)
    set_value(tree, keys, absolute, where=f"{path}: {key}")


def _name(values: Mapping[str, Any]) -> str:
    parts = [_label(axis, value) for axis, value in values.items()]
    name = "-".join(part for part in parts if part) or "run"
    if len(name) > _LONGEST_NAME:
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        name = f"{name[: _LONGEST_NAME - 9]}-{digest}"
    return name


def _label(axis: str, value: Any) -> str:
    """The part of a run's name for an axis: the value, after a short name where it is a number."""
    text = re.sub(r"[^\w.+-]+", "_", str(value)).strip("_.")
    if axis in SEEDS:
        return {"seed": "s", "data.split_seed": "split", "views.seed": "views"}[axis] + text
    if isinstance(value, str) and axis != "data.hybridness":
        return text
    short = {"data.hybridness": "h"}.get(axis, axis.rpartition(".")[2])
    return f"{short}{text}"


def _refuse_same(runs: list[PlannedRun], path: Path) -> None:
    twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    if twice:
        raise RecipeError(
            f"{path}: two runs would be called {twice[0]}; give values that differ in letters "
            "or digits"
        )


def _needs_teacher(recipe: Recipe) -> bool:
    return METHODS[recipe.method.name].needs_teacher


def _cache_key(recipe: Recipe) -> str | None:
    """Key of the view cache of a recipe; None without a cache."""
    if recipe.views.count == 0 or not _needs_teacher(recipe):
        return None
    teacher = recipe.teacher
    facts = (
        recipe.data.dataset,
        recipe.data.root,
        teacher.model,
        teacher.pretrained,
        teacher.normalization,
        recipe.views.model_dump_json(),
    )
    return repr(facts)
