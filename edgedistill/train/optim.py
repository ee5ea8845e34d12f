"""Optimisers over a method's parameter groups, and learning-rate schedules as a pure function."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch.optim import SGD, Adam, AdamW, Optimizer

from edgedistill.methods.base import ParamGroup

OptimizerKind = Literal["sgd", "adamw", "adam"]
Schedule = Literal["constant", "cosine", "hdg"]


def build_optimizers(
    groups: Sequence[ParamGroup],
    kind: OptimizerKind,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    count: int = 1,
    fused: bool = False,
) -> list[Optimizer]:
    """``count`` identical optimisers, each over all groups.

    A group trains at ``lr * lr_scale``, or at its own absolute ``lr``, which `apply_lr_factor`
    leaves alone. Momentum and Nesterov belong to "sgd". Adam's decay is the L2 penalty in its
    gradient, AdamW's is decoupled. Groups without parameters are left out. ``fused`` asks for
    torch's fused kernels, the fastest on a GPU.
    """
    # torch's foreach SGD adds Nesterov's term to the gradients in place when nothing decays, and
    # the next optimiser would read the result; the fused one unscales gradients in place.
    foreach, fused = count == 1 and not fused, count == 1 and fused
    optimizers: list[Optimizer] = []
    for _ in range(count):
        members = _torch_groups(groups, lr)
        if kind == "sgd":
            optimizers.append(
                SGD(
                    members,
                    lr=lr,
                    momentum=momentum,
                    weight_decay=weight_decay,
                    nesterov=nesterov,
                    foreach=foreach,
                    fused=fused,
                )
            )
        else:
            adam = AdamW if kind == "adamw" else Adam
            optimizers.append(
                adam(members, lr=lr, weight_decay=weight_decay, foreach=foreach, fused=fused)
            )
    return optimizers


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """`load_state_dict`, except that the kernels stay those of the device at hand.

    A run may have begun on another one, and torch takes them over from the state.
    """
    groups = [
        {**saved, "foreach": own["foreach"], "fused": own["fused"]}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def apply_lr_factor(optimizers: Iterable[Optimizer], factor: float) -> None:
    """Set every scheduled group's rate to ``factor`` times its base rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if group["scheduled"]:
                group["lr"] = group["base_lr"] * factor


def lr_factor(
    step: int,
    total: int,
    schedule: Schedule,
    *,
    warmup_steps: int = 0,
    double_last_decay: bool = False,
    epoch_steps: int | None = None,
    decays: int = 1,
) -> float:
    """The factor of the base learning rate at ``step`` (from 0) of ``total``.

    "constant"; "cosine", from 1 after the warm-up to 0 at ``total`` (arXiv 1608.03983); "hdg",
    SCI-PD's steps: 0.1 from 72 % of the run and 0.01 from 92 %, or 0.001 there with
    ``double_last_decay``, which their code reaches by decaying twice. With ``epoch_steps`` the two
    places are theirs at any length: of E epochs of so many steps, after ``int(0.7 E) + 1`` and
    ``int(0.9 E) + 1`` (36 and 46 of 50). ``decays`` is how often each of these decays is applied.
    Steps may be counted in any unit, epochs included. The first ``warmup_steps`` rise linearly to
    1. ``total`` must be positive; steps beyond it keep the last value.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "cosine":
        progress = (step - warmup_steps) / max(1, total - warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    if schedule == "hdg":
        first, last = _hdg_decays(step, total, epoch_steps)
        tenths = decays * (first + last * (2 if double_last_decay else 1))
        return float(f"1e-{tenths}")
    return 1.0


def _hdg_decays(step: int, total: int, epoch_steps: int | None) -> tuple[bool, bool]:
    """Whether a step comes after the first decay, and whether after the last."""
    if epoch_steps is None:
        # Whole numbers keep the boundaries exact: 72 % and 92 % are 18 and 23 parts in 25.
        return 25 * step >= 18 * total, 25 * step >= 23 * total
    epoch, epochs = step // epoch_steps, math.ceil(total / epoch_steps)
    # In floating point, as in the authors' code: 0.7 of 90 epochs is 62.99... to it.
    return epoch > int(0.7 * epochs), epoch > int(0.9 * epochs)


def _torch_groups(groups: Sequence[ParamGroup], lr: float) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    for group in groups:
        absolute = "lr" in group
        rate = group["lr"] if absolute else lr * group.get("lr_scale", 1.0)
        if group["params"]:
            result.append(
                {
                    "name": group["name"],
                    "params": list(group["params"]),
                    "lr": rate,
                    "base_lr": rate,
                    "scheduled": not absolute,
                }
            )
    return result
