"""Loggers of a whole run: the values of its history, each step once, and the results."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from culprits import raises

import edgedistill as ed
from edgedistill.callbacks import TrainingStep
from edgedistill.errors import DataError, RecipeError
from edgedistill.registries import LOGGERS

TREE = Callable[..., dict[str, Any]]


class CutAt(ed.Callback):
    """Ends the work at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: TrainingStep) -> None:
        if step.step == self.step:
            raise OSError("cut")


class Warnings(ed.Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_warning(self, message: str) -> None:
        self.lines.append(message)


def resumed(tree: dict[str, Any], out: Path) -> ed.Run:
    """A run that was cut after its checkpoint of step 4 and goes on from there."""
    with pytest.raises(OSError, match="cut"):
        ed.run(tree, out=out, callbacks=[CutAt(5)])
    return ed.run(tree, out=out, callbacks=[])


def test_a_resumed_run_has_each_value_of_a_curve_once(tree_of: TREE, tmp_path: Path) -> None:
    tree = tree_of(method={"name": "erm"}, log={"to": ["csv"], "every": 1})
    run = resumed(tree, tmp_path / "run")
    with (tmp_path / "run" / "log.csv").open(newline="") as file:
        rows = [
            (int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)
        ]
    losses = [(step, value) for step, name, value in rows if name == "train/loss"]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    accuracies = [(step, value) for step, name, value in rows if name == "val/accuracy"]
    assert accuracies == [(row["step"], row["val_accuracy"]) for row in run.history]


def test_tensorboard_reads_the_curves_and_results(tree_of: TREE, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tree = tree_of(method={"name": "erm"}, log={"to": ["tensorboard"], "every": 1})
    run = resumed(tree, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    accuracies = [(event.step, event.value) for event in events.Scalars("val/accuracy")]
    assert accuracies == [
        (row["step"], pytest.approx(row["val_accuracy"], abs=1e-6)) for row in run.history
    ]
    (result,) = events.Scalars("result/target.accuracy")
    assert result.value == pytest.approx(run.metrics["target"]["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_mlflow_has_one_run_with_settings_and_results(
    tree_of: TREE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    # A folder instead of a server, which the small package of the extra can write to by itself.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    tree = tree_of(method={"name": "erm"}, log={"to": ["mlflow"], "project": "shapes"})
    run = resumed(tree, tmp_path / "run")
    client = MlflowClient()
    experiment = client.get_experiment_by_name("shapes")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.run_name, tracked.info.status) == ("run", "FINISHED")
    assert tracked.data.params["method.name"] == "erm"
    accuracy = tracked.data.metrics["result/target.accuracy"]
    assert accuracy == run.metrics["target"]["accuracy"]
    steps = {
        metric.step for metric in client.get_metric_history(tracked.info.run_id, "val/accuracy")
    }
    assert steps == {3, 6}


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(
    tree_of: TREE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    warnings = Warnings()
    tree = tree_of(method={"name": "erm"}, log={"to": ["wandb"], "every": 1})
    run = ed.run(tree, out=tmp_path / "run", callbacks=[warnings])
    assert not [line for line in warnings.lines if "log.to" in line]
    assert run.metrics["target"]["accuracy"] >= 0
    (file,) = (tmp_path / "run" / ".wandb").glob("offline-run-*/*.wandb")
    assert b"val/accuracy" in file.read_bytes()


def test_another_choice_of_loggers_goes_on_with_the_run(tree_of: TREE, tmp_path: Path) -> None:
    tree = tree_of(method={"name": "erm"})
    with pytest.raises(OSError, match="cut"):
        ed.run(tree, out=tmp_path / "run", callbacks=[CutAt(5)])
    run = ed.run({**tree, "log": {"to": ["csv"]}}, out=tmp_path / "run", callbacks=[])
    assert run.before == "unfinished" and (tmp_path / "run" / "log.csv").is_file()


def test_what_a_tracker_raises_is_a_warning_and_the_run_goes_on(
    tree_of: TREE, tmp_path: Path
) -> None:
    @LOGGERS.register("broken")
    class Broken(LOGGERS["csv"]):  # type: ignore[misc]
        def log(self, step: int, values: Any) -> None:
            raise ConnectionError("no route")

    warnings = Warnings()
    try:
        tree = tree_of(method={"name": "erm"}, log={"to": ["broken"], "every": 1})
        run = ed.run(tree, out=tmp_path / "run", callbacks=[warnings])
    finally:
        LOGGERS.unregister("broken")
    assert run.metrics["target"]["accuracy"] >= 0
    (line,) = (line for line in warnings.lines if "no route" in line)
    assert "log.to" in line


@pytest.mark.slow
def test_a_tracker_that_does_not_start_leaves_no_run(
    tree_of: TREE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://here")
    tree = tree_of(method={"name": "erm"}, log={"to": ["mlflow"]})
    with raises(RecipeError, "log.to", "mlflow"):
        ed.run(tree, out=tmp_path / "run", callbacks=[])
    assert not os.path.exists(tmp_path / "run")


def test_a_log_hides_no_refused_data_and_leaves_nothing(tree_of: TREE, tmp_path: Path) -> None:
    tree = tree_of(method={"name": "erm"}, log={"to": ["csv"]}, data={"unknown": ["nowhere"]})
    with raises(DataError, "nowhere"):
        ed.run(tree, out=tmp_path / "new", callbacks=[])
    assert not os.path.exists(tmp_path / "new")
    (tmp_path / "there").mkdir()
    with raises(DataError, "nowhere"):
        ed.run(tree, out=tmp_path / "there", callbacks=[])
    corrected = tree_of(method={"name": "erm"}, log={"to": ["csv"]})
    run = ed.run(corrected, out=tmp_path / "there", callbacks=[])
    assert (tmp_path / "there" / "log.csv").is_file() and run.before == "new"


def test_a_finished_run_opens_no_tracker(tree_of: TREE, tmp_path: Path) -> None:
    tree = tree_of(method={"name": "erm"}, log={"to": ["csv"]})
    ed.run(tree, out=tmp_path / "run", callbacks=[])
    before = (tmp_path / "run" / "log.csv").read_bytes()
    logger = LOGGERS["csv"](tmp_path / "run", tree, ed.Recipe.model_validate(tree).log)
    again = ed.run(tree, out=tmp_path / "run", callbacks=[logger])
    assert again.before == "finished"
    assert (tmp_path / "run" / "log.csv").read_bytes() == before
