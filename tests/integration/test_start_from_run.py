"""A run starts from another run's student: its trunk, and its projection under one teacher."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import edgedistill as ed
from edgedistill import callbacks
from edgedistill.students import build_backbone, start_projection


class Notes(callbacks.Callback):
    """Notes that were heard."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_note(self, message: str) -> None:
        self.lines.append(message)


def test_a_run_starts_from_a_run(tree_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    steps = {"steps": 2, "eval_every": 2}
    student = {"model": "timm/test_resnet", "size": 32}
    tree = tree_of(method={"name": "scipd"}, train=steps, student=student)
    first = ed.run(tree, out=tmp_path / "first")
    path = str(first.path)
    trunk, _ = build_backbone("timm/test_resnet", path)
    trained = first.student.backbone.state_dict()
    assert all(torch.equal(tensor, trained[key]) for key, tensor in trunk.state_dict().items())
    teacher = first.environment["identity"]["teacher"]
    projection = start_projection("timm/test_resnet", path, teacher)
    assert projection is not None
    assert torch.equal(projection, first.student.head.get_parameter("hidden.weight"))
    notes = Notes()
    second = ed.run(
        tree, out=tmp_path / "second", overrides={"student.weights": path}, callbacks=[notes]
    )
    (line,) = (line for line in notes.lines if line.startswith("student.weights"))
    assert path in line and f"{len(projection)} dimensions" in line
    identity = second.environment["identity"]
    assert identity["teacher"] == teacher
    assert identity["start_weights"] != first.environment["identity"]["start_weights"]


def test_the_start_weights_answer_without_training_where_they_bring_a_projection(
    tree_of: Callable[..., dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    student = {"model": "timm/test_resnet", "size": 32}
    tree = tree_of(method={"name": "vl2v"}, train={"steps": 2, "eval_every": 2}, student=student)
    first = ed.run(tree, out=tmp_path / "first", callbacks=[])
    assert first.metrics["start"] is None
    start = {"student.weights": str(first.path)}
    # Its head starts as the projection and the class texts: without a step that is all it is.
    untrained = ed.run(
        tree, out=tmp_path / "untrained", overrides={**start, "train.steps": 0}, callbacks=[]
    ).metrics
    # What a class has of training images says nothing of a student that saw none.
    target = {k: v for k, v in untrained["target"].items() if k != "class_thirds"}
    assert untrained["start"]["target"] == target
    assert untrained["start"]["source_val"] == untrained["source_val"]
    assert untrained["start"]["openset"] == untrained["openset"]
    # A method without a place for the projection is measured against the same.
    notes = Notes()
    erm = ed.run(
        tree,
        out=tmp_path / "erm",
        overrides={**start, "method.name": "erm"},
        callbacks=[notes],
    )
    assert erm.metrics["start"] == untrained["start"]
    accuracy = f"{100 * untrained['source_val']['accuracy']:.1f} %"
    assert any(line.startswith("start weights") and accuracy in line for line in notes.lines)
    # Images without labels have no figures of right and wrong.
    folder = shutil.copytree(shapes / "sea" / "star", tmp_path / "new")
    overrides = {**start, "data.target": str(folder), "train.steps": 0}
    answered = ed.run(tree, out=tmp_path / "answered", overrides=overrides, callbacks=[]).metrics
    assert answered["start"]["target"] is None
    assert answered["start"]["unlabelled"] == answered["unlabelled"]
