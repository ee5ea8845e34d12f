"""Methods that compare source domains, or whose head has a state of its own, in whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises

import edgedistill as ed
from edgedistill.errors import RecipeError


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arpl", "groupdro", "vrex"])
def test_a_run_exports_and_answers(
    name: str, tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run = ed.run(tree_of(method={"name": name}, train={"average": "ema"}), out=tmp_path / "run")
    # Export holds the file against the student, which it builds anew from the run's folder.
    for precision in ("fp32", "int8"):
        file = tmp_path / f"{precision}.onnx"
        ed.load_run(tmp_path / "run").export(file, precision=precision, max_drop=1.0)
        (answer,) = ed.Classifier(file).predict([np.zeros((32, 32, 3), np.uint8)])
        assert math.isfinite(answer.score)
    assert run.metrics["target"]["images_known"] > 0


@pytest.mark.parametrize("name", ["coral", "groupdro", "mixup", "mmd", "vrex"])
def test_a_single_source_domain_is_refused(
    name: str, tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tree = tree_of(method={"name": name}, data={"protocol": "instances", "sources": ["night"]})
    with raises(RecipeError, "method.name", name, "night"):
        ed.run(tree, out=tmp_path / "run")
