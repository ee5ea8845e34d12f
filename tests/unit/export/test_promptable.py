"""Runs that are given other classes, without a folder or a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from culprits import raises
from torch import nn

from edgedistill.errors import ExportError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.promptable import with_classes
from edgedistill.methods import METHODS
from edgedistill.methods.heads import LinearHead
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.load import resolve
from edgedistill.students import Student


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.projects])
def test_a_student_without_a_projection_is_refused(name: str, tmp_path: Path) -> None:
    recipe = resolve({"data": {"target": "x"}, "method": {"name": name}})
    backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    kind: Any = METHODS[name]
    run = FinishedRun(
        path=tmp_path,
        recipe=recipe,
        recipe_sha256="0" * 64,
        classes=("a", "b"),
        student=Student(backbone, LinearHead(3, 2)).eval(),
        openset=OpenSetHead("max_logit"),
        method=kind(kind.Hyper(), text=None),
        calibration=Calibration("max_logit", 0.0, 0.95, 10),
        metrics={},
    )
    projecting = [name for name, method in METHODS.items() if method.projects]
    with torch.no_grad(), raises(ExportError, tmp_path, name, *projecting):
        with_classes(run, {"cat": "cat"})
