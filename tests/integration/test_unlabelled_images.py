"""Runs with images without labels beside the labelled ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises
from PIL import Image

import edgedistill as ed
from edgedistill.callbacks import Progress, TrainingStep
from edgedistill.errors import RunFolderError


class Notes(ed.Callback):
    """What a run says and does; ends it at a step."""

    def __init__(self, last: int | None = None) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: list[int] = []
        self.work: set[str] = set()
        self._last = last

    def on_note(self, message: str) -> None:
        self.notes.append(message)

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)

    def on_progress(self, progress: Progress) -> None:
        if progress.total:
            self.work.add(progress.name)

    def on_step(self, step: TrainingStep) -> None:
        self.steps.append(step.step)
        if step.step == self._last:
            raise KeyboardInterrupt


@pytest.fixture
def pools(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("first/a/1", "first/b/2", "first/3", "second/1", "second/2"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    return [str(tmp_path / "first"), str(tmp_path / "second")]


@pytest.fixture
def tree(tree_of: Callable[..., dict[str, Any]], pools: list[str]) -> dict[str, Any]:
    return tree_of(
        data={"unlabelled": pools}, method={"name": "kd"}, train={"unlabelled_per_step": 3}
    )


def student(run: ed.Run) -> bytes:
    return (run.path / "student.safetensors").read_bytes()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits_and_needs_the_same_images(
    tree: dict[str, Any], pools: list[str], tmp_path: Path
) -> None:
    said = Notes()
    whole = ed.run(tree, tmp_path / "whole", callbacks=[said])
    assert any("3 of" in note and "2 of" in note for note in said.notes)
    assert not any("unlabelled" in line for line in said.warnings)
    first = Notes(last=3)
    with pytest.raises(ed.errors.Interrupted):
        ed.run(tree, tmp_path / "cut", callbacks=[first])
    extra = Path(pools[1]) / "3.png"
    shutil.copy(Path(pools[0]) / "3.png", extra)
    with raises(RunFolderError, tmp_path / "cut", "unlabelled images"):
        ed.run(tree, tmp_path / "cut", callbacks=[])
    extra.unlink()
    second = Notes()
    resumed = ed.run(tree, tmp_path / "cut", callbacks=[second])
    assert second.steps[0] > 1
    assert student(resumed) == student(whole)
    # Whoever exports the run need not have them any more.
    shutil.rmtree(pools[0])
    assert resumed.export(callbacks=[]).path.exists()


def test_they_change_what_is_learned_and_nothing_where_there_are_none(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    with_them = ed.run(tree, tmp_path / "with", callbacks=[])
    without = ed.run(tree, tmp_path / "without", overrides={"data.unlabelled": []}, callbacks=[])
    assert student(with_them) != student(without)
    # A run of a version that knew no unlabelled images goes on.
    (without.path / "metrics.json").unlink()
    environment = json.loads((without.path / "environment.json").read_text())
    del environment["identity"]["unlabelled"]
    (without.path / "environment.json").write_text(json.dumps(environment))
    before = student(without)
    again = ed.run(tree, without.path, overrides={"data.unlabelled": []}, callbacks=[])
    assert student(again) == before


@pytest.mark.parametrize("views", [0, 2])
def test_the_teacher_is_asked_about_the_same_pixels_that_the_student_sees(
    tree: dict[str, Any], tmp_path: Path, views: int
) -> None:
    overrides = {"views.count": views, "method.name": "embedding", "train.steps": 2}
    run = ed.run(tree, tmp_path / "run", overrides=overrides, callbacks=[])
    assert run.history[-1]["embedding"] > 0


def test_a_method_that_cannot_use_them_says_so_once_and_trains_as_without(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    said, scipd = Notes(), {"method.name": "scipd"}
    run = ed.run(tree, tmp_path / "run", overrides=scipd, callbacks=[said])
    (line,) = (line for line in said.warnings if "unlabelled" in line)
    assert "scipd" in line and "kd" in line
    assert line in run.report.read_text().replace("&#39;", "'")
    without = ed.run(
        tree, tmp_path / "without", overrides={**scipd, "data.unlabelled": []}, callbacks=[]
    )
    assert student(run) == student(without)


def test_after_a_build_nothing_is_left_to_store_or_to_ask(
    tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    built = ed.build_caches(tree, callbacks=[])
    assert [cache.kind for cache in built].count("views") == 3
    running = Notes()
    ed.run(tree, tmp_path / "run", callbacks=[running])
    assert not running.work
    checks = ed.verify_caches(tree)
    assert {check.state for check in checks} == {"sound"}
    folders = {cache.folder for cache in built}
    assert folders == {check.folder for check in checks}
