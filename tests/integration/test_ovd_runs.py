"""Runs of open-vocabulary distillation that stop, go on, and ship interpolated weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import FEW_NODES
from safetensors.torch import load_file

import edgedistill as ed
from edgedistill.callbacks import TrainingStep


class StopAt(ed.Callback):
    """Ends a run at a step, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, step: TrainingStep) -> None:
        if step.step == self._step:
            raise KeyboardInterrupt


def test_a_stopped_run_ends_with_the_same_bits_weight_and_share(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tree = tree_of(
        student=FEW_NODES,
        method={"name": "ovd", "reliability": "class"},
        train={"wise_ft": "validation"},
    )
    whole = ed.run(tree, tmp_path / "whole", callbacks=[])
    with pytest.raises(ed.errors.Interrupted):
        ed.run(tree, tmp_path / "cut", callbacks=[StopAt(3)])
    resumed = ed.run(tree, tmp_path / "cut", callbacks=[])
    weights = [(run.path / "student.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]
    for key in ("teacher_reliability", "wise_ft"):
        assert whole.metrics[key] == resumed.metrics[key]


@pytest.mark.slow
def test_half_of_the_way_is_the_mean_of_start_and_trained_weights(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def ship(name: str, **train: Any) -> dict[str, torch.Tensor]:
        tree = tree_of(method={"name": "ovd"}, train=train)
        ed.run(tree, tmp_path / name, callbacks=[])
        return load_file(tmp_path / name / "student.safetensors")

    start, trained, half = ship("start", steps=0), ship("trained"), ship("half", wise_ft=0.5)
    for name in ("backbone.features.0.0.weight", "backbone.features.0.1.running_var"):
        assert not torch.equal(start[name], trained[name])
        torch.testing.assert_close(half[name], (start[name] + trained[name]) / 2)
