"""The Python API on tiny data: the examples in its docstrings, and what they do not show."""

from __future__ import annotations

import doctest
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from culprits import raises
from networks import FEW_NODES
from PIL import Image

import edgedistill as ed
from edgedistill.callbacks import RunEnd, Stage, TrainingStep, Validation
from edgedistill.errors import RecipeError, RunFolderError, UsageError

LIST_MODULES = Path(__file__).parents[1] / "programs" / "list_modules.py"
TREE = Callable[..., dict[str, Any]]
# Of the docstrings that need the run and the file of the package's own example.
WITH_A_RUN: dict[str, Any] = {
    "run": ed.run,
    "load_run": ed.load_run,
    "compare": ed.compare,
    "benchmark": ed.benchmark,
    "find_images": ed.find_images,
    "init": ed.init,
    "pretrain": ed.pretrain,
}
LISTS = [name for name in ed.__all__ if name.startswith("list_") and name != "list_caches"]


class Heard(ed.Callback):
    """Keeps stages, steps, validations and how runs ended."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.steps: list[int] = []
        self.validations: list[Validation] = []
        self.ends: list[RunEnd] = []

    def on_stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def on_step(self, step: TrainingStep) -> None:
        self.steps.append(step.step)

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_end(self, end: RunEnd) -> None:
        self.ends.append(end)


def failures(name: str, target: Any) -> list[str]:
    """What goes wrong in the examples of an object's docstring, which must have some."""
    output: list[str] = []
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(target, name, module=False, globs={"ed": ed})
    assert test.examples, name
    doctest.DocTestRunner().run(test, out=output.append)
    return output


@pytest.fixture(scope="module")
def folder(tree_of: TREE, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A current directory with a recipe, a photo, and photos of two classes."""
    path = tmp_path_factory.mktemp("api")
    for number, name in enumerate(["cat", "dog"] * 5):
        (path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(path / f"photos/{name}/{number}.png")
    (path / "recipe.toml").write_text(tomli_w.dumps(tree_of(student=FEW_NODES)))
    Image.new("RGB", (30, 20), "red").save(path / "x.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield path


@pytest.fixture(scope="module")
def package_failures(folder: Path) -> list[str]:
    """Failures of the package's own example, which leaves a run and a file."""
    return failures("edgedistill", ed)


@pytest.fixture(scope="module")
def finished(package_failures: list[str]) -> ed.Run:
    return ed.load_run("runs/a")


def test_the_example_of_the_package(package_failures: list[str]) -> None:
    assert package_failures == []


@pytest.mark.parametrize("name", WITH_A_RUN)
def test_the_examples_that_need_a_run(finished: ed.Run, name: str) -> None:
    assert failures(name, WITH_A_RUN[name]) == []


@pytest.mark.parametrize("name", LISTS)
def test_the_examples_of_lists(name: str) -> None:
    assert failures(name, getattr(ed, name)) == []


def test_every_public_name_is_there() -> None:
    for name in ed.__all__:
        assert getattr(ed, name) is not None
    with pytest.raises(AttributeError):
        _ = ed.trian  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["edgedistill", "edgedistill.callbacks", "edgedistill.errors"])
def test_importing_is_light(name: str) -> None:
    process = subprocess.run(
        [sys.executable, LIST_MODULES, name], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "pydantic", "typer"} & set(process.stdout.split())


def test_a_run_read_back(finished: ed.Run, folder: Path) -> None:
    assert finished.name == "a" and finished.before == "finished"
    assert finished.recipe.train.lr == 1e-3
    assert finished.metrics["target"]["domain"] == "sea"
    assert finished.environment["processes"] == 1
    assert [row["step"] for row in finished.history] == [3, 6]
    assert finished.threshold == finished.metrics["openset"]["threshold"]
    assert finished.report.is_file()
    assert isinstance(finished.student, torch.nn.Module) and not finished.student.training
    assert finished.student is finished.student


def test_a_finished_run_is_only_read(finished: ed.Run) -> None:
    ends = Heard()
    again = ed.run(finished.recipe, finished.path, callbacks=[ends])
    assert (again.before, again.metrics) == ("finished", finished.metrics)
    (end,) = ends.ends
    assert (end.path, end.status, end.metrics) == (finished.path, "finished", finished.metrics)


def test_a_recipe_from_python(finished: ed.Run, tree_of: TREE, folder: Path) -> None:
    """Dictionaries, and overrides of either kind, make the same recipe as the file."""
    changed = {"train.lr": 1e-3, "method.name": "erm", "train.steps": 1}
    texts = ["train.lr=1e-3", 'method.name="erm"', "train.steps=1"]
    tree = tree_of(student=FEW_NODES)
    heard = Heard()
    run = ed.run(tree, overrides=changed, callbacks=[heard])
    assert (run.path, run.before) == (Path("runs/erm-sea-s0"), "new")
    assert (heard.stages, heard.steps) == (list(Stage), [1])
    assert [v.row["val_accuracy"] for v in heard.validations] == [run.history[0]["val_accuracy"]]
    (end,) = heard.ends
    assert end.metrics == run.metrics
    same = ed.run("recipe.toml", run.path, overrides=texts, callbacks=())
    assert same.before == "finished"
    assert tree == tree_of(student=FEW_NODES)


def test_a_recipe_file_read(folder: Path) -> None:
    changed = ed.load_recipe("recipe.toml", {"train.lr": 0.5})
    assert changed == ed.load_recipe(Path("recipe.toml"), ["train.lr=0.5"])
    assert changed.train.lr == 0.5 != ed.load_recipe("recipe.toml").train.lr


def test_nothing_to_measure() -> None:
    with raises(UsageError, "models"):
        ed.benchmark([])


def test_a_wrong_override_names_its_key(folder: Path) -> None:
    with raises(RecipeError, "train.lrr"):
        ed.run("recipe.toml", overrides={"train.lrr": 1.0})
    with raises(RecipeError, "train.lr.x"):
        ed.run("recipe.toml", overrides={"train.lr": 1.0, "train.lr.x": 2})


def test_a_failed_run_ends_with_its_error(finished: ed.Run) -> None:
    ends = Heard()
    with raises(RunFolderError, finished.path):
        ed.run(finished.recipe, finished.path, overrides={"seed": 5}, callbacks=[ends])
    (end,) = ends.ends
    assert end.status == "failed" and isinstance(end.error, RunFolderError)


def test_there_is_no_run(tmp_path: Path) -> None:
    with raises(RunFolderError, tmp_path):
        ed.load_run(runs=tmp_path)
    with raises(RunFolderError, "none"):
        ed.load_run("none", runs=tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "attribute"),
    [
        ("metrics.json", "{", "metrics"),
        ("history.csv", "step,lr\n1,x\n", "history"),
        ("openset.json", "{}", "threshold"),
    ],
)
def test_damaged_files_of_a_run(tmp_path: Path, name: str, text: str, attribute: str) -> None:
    (tmp_path / name).write_text(text)
    with raises(RunFolderError, tmp_path / name):
        getattr(ed.Run(tmp_path), attribute)


def test_exports_that_cannot_be(finished: ed.Run, folder: Path) -> None:
    with raises(UsageError, "max_drop", -0.1):
        finished.export(folder / "y.onnx", precision="int8", max_drop=-0.1)
    with raises(UsageError, "int4"):
        finished.export(folder / "y.onnx", precision="int4")  # type: ignore[call-overload]
    with raises(UsageError, "tflite"):
        finished.export(folder / "y.onnx", format="tflite")
    assert not (folder / "y.onnx").exists()


def test_the_caches_of_a_recipe(finished: ed.Run, folder: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
        assert [c.state for c in ed.verify_caches("recipe.toml")] == ["missing"] * 4
        built = ed.build_caches("recipe.toml", callbacks=())
        assert sorted(c.name for c in built) == sorted(c.name for c in ed.list_caches())
        assert {c.state for c in ed.verify_caches("recipe.toml")} == {"sound"}
        (views,) = (c for c in built if c.kind == "views")
        assert ed.clear_caches(views.name[:8]) == [views]
        assert len(ed.clear_caches("recipe.toml")) == 3 and ed.list_caches() == []


def test_a_dataset_and_a_teacher(folder: Path, shapes: Path) -> None:
    info = ed.dataset_info("recipe.toml", callbacks=())
    assert info.target == "sea" and info.problems == ()
    assert sum(sum(row.images) for row in info.classes) == len(info.index)
    assert info.contact_sheet().width > 0
    assert ed.dataset_info(shapes, callbacks=()).target is None
    rows = ed.evaluate_teacher("recipe.toml", callbacks=())
    assert [row["domain"] for row in rows if row["target"]] == ["sea"]
