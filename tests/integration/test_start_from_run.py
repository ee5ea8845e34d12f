"""A run starts from another run's student: its trunk, and its projection under one teacher."""

from __future__ import annotations

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
