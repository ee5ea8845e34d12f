"""The plan of the comparison: cells, their trials and runs as recipes, and the choice among trials.

A cell is one method with one student, start and target. Its trials train inside the sources of that
target; the choice among them is what its runs train with.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.emoji.search import lengths, stratified
from benchmarks.emoji.trained_with import weights_key
from edgedistill._utils.text_files import read_text
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.protocols.split import Split
from edgedistill.errors import RecipeError, UsageError, WeightsError
from edgedistill.methods import SearchRange, search_space
from edgedistill.recipe import Recipe, to_toml
from edgedistill.recipe.load import as_recipe, first_line
from edgedistill.recipe.schema import DataSection
from edgedistill.registries import METHODS
from edgedistill.sweep.spec import flatten

AXES = ("task", "student", "start", "target", "method")
Row = Mapping[str, Any]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Optimizer(_Strict):
    """An optimizer, with the ranges (log-uniform) that its rate and weight decay are drawn from."""

    name: str
    lr: tuple[float, float]
    weight_decay: tuple[float, float]


class Task(_Strict):
    """An embedded benchmark: the stand-in of each target, and its pool of unlabelled images."""

    unlabelled: list[str] = []
    unknown: list[str]
    stand_in: dict[str, str]


class Entry(_Strict):
    """A method as it is compared.

    Attributes:
        name: in the registry.
        unlabelled: whether the task's unlabelled images join every step.
        untrained: keep the start weights as they are.
        starts: the kinds of start weights that it is for; None for all.
        set: recipe field -> value, part of the method.
    """

    name: str
    unlabelled: bool = False
    untrained: bool = False
    starts: list[str] | None = None
    set: dict[str, Any] = {}


class Grid(_Strict):
    """Cells to do: all combinations."""

    task: str
    students: list[str]
    starts: list[str]
    targets: list[str]
    methods: list[str]


class Settings(_Strict):
    """Content of a settings file; see settings.toml for its keys."""

    seeds: list[int] = Field(min_length=1)
    trials: int = Field(ge=1)
    steps: int = Field(ge=1)
    trial_steps: int = Field(ge=1)
    keep_rates: list[float] = Field(min_length=1)
    reference: list[str]
    recipe: dict[str, Any]
    starts: dict[str, list[Optimizer]]
    tasks: dict[str, Task]
    methods: dict[str, Entry]
    grids: list[Grid] = Field(min_length=1)


class Cell(NamedTuple):
    """What is tuned and run by itself."""

    task: str
    student: str
    start: str
    target: str
    method: str


@dataclass(frozen=True)
class Job:
    """One training: a trial, or a run with its seed as `number`; `key` is of all it comes from."""

    kind: Literal["trial", "run"]
    cell: Cell
    number: int
    fields: dict[str, Any]
    score: str | None
    recipe: Recipe
    key: str

    @property
    def name(self) -> str:
        """A folder's: what it is of, and the key. A dataset that is a path gives its last part."""
        cell = self.cell._replace(task=Path(self.cell.task).name)
        return f"{'-'.join(cell)}-{self.kind}{self.number}-{self.key}".replace("/", "_")


def read_settings(path: Path) -> Settings:
    """The settings of a TOML file. Raises RecipeError in one line that names it."""
    try:
        settings = Settings.model_validate(tomllib.loads(read_text(path)))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_line(error, Settings)}") from None
    for cell in cells_of(settings):
        known = cell.task in settings.tasks and cell.method in settings.methods
        known = known and bool(settings.starts.get(cell.start))
        if not known or cell.target not in settings.tasks[cell.task].stand_in:
            raise RecipeError(
                f"{path}: grids name {' '.join(cell)}, and the task, start, method or "
                "stand_in of the target is missing"
            )
        if settings.methods[cell.method].name not in METHODS:
            raise RecipeError(f"{path}: methods.{cell.method}.name: no registered method")
    return settings


def cells_of(settings: Settings, only: Mapping[str, Sequence[str]] | None = None) -> list[Cell]:
    """The cells of all grids, or those with these values; the methods of a target in a row."""
    cells = [
        Cell(grid.task, student, start, target, method)
        for grid in settings.grids
        for start in grid.starts
        for student in grid.students
        for target in grid.targets
        for method in grid.methods
    ]
    chosen = [
        cell
        for cell in dict.fromkeys(cells)
        if all(getattr(cell, axis) in values for axis, values in (only or {}).items())
        and _is_for(settings.methods.get(cell.method), cell.start)
    ]
    if not chosen:
        raise UsageError(f"--only: nothing of the settings is left by {dict(only or {})}")
    return chosen


def _is_for(entry: Entry | None, start: str) -> bool:
    return entry is None or entry.starts is None or start in entry.starts


def draws(settings: Settings, method: str, start: str) -> list[dict[str, Any]]:
    """Recipe field -> value, for every trial of a method; the same rates for every method."""
    entry, optimizers = settings.methods[method], settings.starts[start]
    kinds = len(optimizers)
    if entry.untrained:
        return [{}]
    trials: list[dict[str, Any]] = [{} for _ in range(settings.trials)]
    for place, optimizer in enumerate(optimizers):
        of_kind = trials[place::kinds]
        for field in ("lr", "weight_decay"):
            values = SearchRange(*getattr(optimizer, field))
            key = f"0 {optimizer.name} {field}"
            for trial, value in zip(of_kind, stratified(values, len(of_kind), key), strict=True):
                trial |= {"train.optimizer": optimizer.name, f"train.{field}": value}
    drawing = [trial for number, trial in enumerate(trials) if number // kinds % 2]
    for field, values in search_space(METHODS[entry.name].Hyper).items():
        if f"method.{field}" not in flatten(entry.set):
            key = f"0 {entry.name} {field}"
            for trial, value in zip(drawing, stratified(values, len(drawing), key), strict=True):
                trial[f"method.{field}"] = value
    return trials


def trials_of(settings: Settings, cell: Cell, weights: Mapping[str, Path]) -> list[Job]:
    """The trials of a cell.

    Args:
        weights: student -> file of its generic start weights.

    Raises EdgeDistillError for a recipe that cannot be, or where generic weights are not given.
    """
    return [
        _job(settings, "trial", cell, number, fields, None, weights)
        for number, fields in enumerate(draws(settings, cell.method, cell.start))
    ]


def runs_of(
    settings: Settings, cell: Cell, weights: Mapping[str, Path], trials: Sequence[Row]
) -> list[Job]:
    """The runs of a cell, a seed each, with what the best of its finished trials has."""
    choice = chosen(trials)
    fields = draws(settings, cell.method, cell.start)[choice["number"]]
    return [
        _job(settings, "run", cell, seed, fields, choice["score"], weights)
        for seed in settings.seeds
    ]


def chosen(trials: Sequence[Row]) -> dict[str, Any]:
    """Number, score and worth of the best trial at its best score, the first of equals.

    A trial is worth the mean, over the keep rates, of its deployed H-score on the stand-in. One
    that diverged has no scores and is worth nothing; without any other the score is None.
    """
    best: dict[str, Any] = {"number": trials[0]["number"], "score": None, "worth": 0.0}
    for row in trials:
        for score, values in row["scores"].items():
            worth = sum(values["h_scores"]) / len(values["h_scores"])
            if worth > best["worth"] or best["score"] is None:
                best = {"number": row["number"], "score": score, "worth": worth}
    return best


def row_id(row: Row) -> tuple[Any, ...]:
    """What a row of the record is of; a later one of the same takes its place."""
    return (row["kind"], *(row[axis] for axis in AXES), row["number"])


def _job(
    settings: Settings,
    kind: Literal["trial", "run"],
    cell: Cell,
    number: int,
    fields: Mapping[str, Any],
    score: str | None,
    weights: Mapping[str, Path],
) -> Job:
    task, entry = settings.tasks[cell.task], settings.methods[cell.method]
    if cell.start == "generic" and cell.student not in weights:
        raise UsageError(
            f"{cell.student}: its generic start weights are not given; add --generic "
            f"{cell.student}=FILE, or leave them out with --only start=embedded"
        )
    file = weights[cell.student] if cell.start == "generic" else None
    common = {
        "data.dataset": cell.task,
        "data.target": cell.target,
        **flatten(settings.recipe),
        "student.model": cell.student,
        "student.weights": str(file) if file else "embedded",
        "method.name": entry.name,
        **flatten(entry.set),
        **fields,
    }
    more = {key: value for key, value in common.items() if key.startswith("data.")}
    split = _split(json.dumps(more, sort_keys=True))
    sources = [name for name in split.sources if name != cell.target]
    if kind == "trial":
        unseen = task.stand_in[cell.target]
        sources.remove(unseen)
        common |= {
            "data.target": unseen,
            "data.sources": sources,
            "data.known": [name for name in split.known if name not in task.unknown],
            "data.unknown": task.unknown,
        }
    if entry.unlabelled:
        common |= {
            "data.unlabelled": task.unlabelled,
            "train.unlabelled_per_step": len(sources) * common["train.batch_per_domain"],
        }
    steps = settings.trial_steps if kind == "trial" else settings.steps
    seed = settings.seeds[0] if kind == "trial" else number
    common |= lengths(0 if entry.untrained else steps, common.get("train.average", "none"))
    common |= {"seed": seed, "openset.keep": settings.keep_rates[0]}
    if score is not None:
        common["openset.score"] = score
    recipe = as_recipe({}, common)
    return Job(kind, cell, number, dict(fields), score, recipe, _key(recipe, file))


@cache
def _split(fields: str) -> Split:
    """The split of some fields of [data], which are JSON so that they can be looked up."""
    data = {key.removeprefix("data."): value for key, value in json.loads(fields).items()}
    return resolve_split(DataSection(**data)).split


@cache
def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"--generic: {file}: {error.strerror}") from None


def _key(recipe: Recipe, file: Path | None) -> str:
    """Twelve hex digits of a recipe, of the weights that ship and of those it starts from."""
    if file is None:
        text = to_toml(recipe)
    else:
        content = _sha256(file)
        student = recipe.student.model_copy(update={"weights": content})
        text = to_toml(recipe.model_copy(update={"student": student}))
    return hashlib.sha256((text + weights_key()).encode()).hexdigest()[:12]
