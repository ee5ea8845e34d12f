"""A step never waits for the device: on torch's meta device, whoever reads a value fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from edgedistill.methods import METHODS
from edgedistill.train.batches import Batch
from edgedistill.train.optim import build_optimizers
from edgedistill.train.step import update
from edgedistill.train.task import Stored, Task

META = torch.device("meta")


@pytest.mark.parametrize("name", METHODS)
def test_a_step_reads_nothing_back(
    name: str, tiny_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Autocast knows no meta device; it is off here anyway.
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())
    hyper = {"worst_case_p": 0.5} if name == "scmd" else {}
    task = tiny_task(name, hyper)
    assert task.method.text is not None
    text = task.method.text.to(META)
    seen: list[torch.Tensor | None] = []

    def teach(batch: Batch, stored: Stored, rows: torch.Tensor | None) -> torch.Tensor:
        seen.append(rows)
        found = torch.empty(len(batch), text.pooled.shape[1], device=META)
        return found if rows is None else found[rows]

    task = replace(
        task,
        device=META,
        student=task.student.to(META),
        method=METHODS[name](METHODS[name].Hyper(**hyper), text=text),
        text=text,
        teach=teach if task.method.needs_teacher else None,
    )
    optimizers = build_optimizers(
        task.method.param_groups(task.student.backbone, task.student.head), "sgd", lr=0.1
    )
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    losses = update(task, task.student, optimizers, scaler, 0)
    assert {value.device for value in losses.values()} == {META}
    if task.teach is not None:
        (rows,) = seen
        assert (rows is not None) == (name == "scmd")
    with pytest.raises(RuntimeError, match="meta"):
        losses["loss"].item()
