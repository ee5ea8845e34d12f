"""The stages of a run, as its callbacks hear of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import edgedistill as ed
from edgedistill.callbacks import Callback, Stage, TrainingStep, reporting
from edgedistill.errors import DataError
from edgedistill.recipe import resolve, to_toml
from edgedistill.runs.pipeline import run_pipeline
from edgedistill.students import build_backbone


def test_a_start_that_fails_leaves_no_folder(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe = resolve(tree_of(method={"name": "erm"}, train={"steps": 3}, data={"target": "moon"}))
    with pytest.raises(DataError):
        run_pipeline(recipe, tmp_path / "runs" / "a")
    assert not list(tmp_path.glob("runs*"))
    other = tmp_path / "runs" / "b"
    other.mkdir(parents=True)
    with pytest.raises(DataError):
        run_pipeline(recipe, tmp_path / "runs" / "a")
    assert list(tmp_path.glob("runs/*")) == [other]


class EndedHere(Exception):
    """Raised by the callback below."""


class Recorder(Callback):
    """Notes stages and steps; ends the run as a stage begins."""

    def __init__(self, last: Stage | None = None) -> None:
        self.stages: list[Stage] = []
        self.steps: list[int] = []
        self._last = last

    def on_stage(self, stage: Stage) -> None:
        self.stages.append(stage)
        if stage is self._last:
            raise EndedHere

    def on_step(self, step: TrainingStep) -> None:
        self.steps.append(step.step)


def test_stages_come_in_order_and_training_is_not_repeated(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe, path = resolve(tree_of(method={"name": "erm"}, train={"steps": 3})), tmp_path / "run"
    first, second = Recorder(Stage.REPORT), Recorder()
    with reporting([first]), pytest.raises(EndedHere):
        run_pipeline(recipe, path)
    assert first.stages == list(Stage) and first.steps == [1, 2, 3]
    assert (path / "openset.json").exists() and not (path / "metrics.json").exists()
    with reporting([second]):
        metrics, state = run_pipeline(recipe, path)
    assert second.stages == list(Stage) and second.steps == []
    assert state == "unfinished" and (path / "report.html").exists()
    third = Recorder()
    with reporting([third]):
        assert run_pipeline(recipe, path)[1] == "finished"
    assert third.stages == [] and metrics["target"]["domain"] == "sea"


def test_without_steps_the_start_weights_ship_and_no_view_is_asked_about(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    # Of a seed that no other test asks about.
    views = {"seed": 712}
    recipe = resolve(tree_of(student={"weights": "embedded"}, views=views, train={"steps": 0}))
    before = {cache.name for cache in ed.list_caches() if cache.kind == "views"}
    run = ed.run(recipe, tmp_path / "run", callbacks=[])
    start, _ = build_backbone("mobilenet_v3_small", "embedded", 32)
    shipped = run.student.backbone.state_dict()
    assert all(torch.equal(value, shipped[key]) for key, value in start.state_dict().items())
    assert [row["step"] for row in run.history] == [0]
    assert run.report.is_file() and run.metrics["target"]["images_known"] == 48
    assert {cache.name for cache in ed.list_caches() if cache.kind == "views"} == before


@pytest.mark.parametrize("saved", ["", "recipe.toml"])
def test_a_run_folder_or_its_recipe_goes_on_there(
    tree_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    saved: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, path = resolve(tree_of(method={"name": "erm"}, train={"steps": 3})), tmp_path / "a"
    with reporting([Recorder(Stage.REPORT)]), pytest.raises(EndedHere):
        run_pipeline(recipe, path)
    second, third = Recorder(), Recorder()
    run = ed.run(path / saved, callbacks=[second])
    assert (run.path, run.before) == (path, "unfinished")
    assert second.stages == list(Stage) and second.steps == []
    again = ed.run(path / saved, callbacks=[third])
    assert (again.path, again.before) == (path, "finished") and third.stages == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_recipe_of_this_name_elsewhere_begins_a_run(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = resolve(tree_of(method={"name": "erm"}, train={"steps": 1}))
    (tmp_path / "recipe.toml").write_text(to_toml(recipe))
    run = ed.run("recipe.toml", callbacks=[])
    assert run.path == Path("runs/recipe-sea-s0")


def test_a_run_without_a_page_is_finished_and_measured_alike(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe = resolve(tree_of(method={"name": "erm"}, train={"steps": 2}))
    metrics, _ = run_pipeline(recipe, tmp_path / "bare", report=False)
    assert run_pipeline(recipe, tmp_path / "bare") == (metrics, "finished")
    assert not list((tmp_path / "bare").glob("*.html"))
    whole, _ = run_pipeline(recipe, tmp_path / "whole")
    assert metrics["target"] == whole["target"]
