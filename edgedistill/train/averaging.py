"""Averages of a module's weights over training: exponential (EMA) and simple (SMA)."""

from __future__ import annotations

from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from edgedistill.errors import TrainingError

Kind = Literal["ema", "sma"]


class AverageState(TypedDict):
    """Everything a resumed run needs; tensors and numbers only."""

    updates: int
    tensors: dict[str, Tensor]


class WeightAverage:
    """A running average of a module's floating parameters and buffers; integers are copied.

    Write θ_n for the module after its n-th update (n from 1), θ_0 at construction.

    "ema": ``avg_n = d avg_{n-1} + (1 - d) θ_n`` with ``d = min(decay, (1 + n) / (10 + n))``, so
    that a run much shorter than 1 / (1 - decay) steps is not dominated by θ_0.

    "sma": ``avg_n = θ_n`` for n < start, then the plain mean of θ_{start-1} .. θ_n, as in SCMD
    (arXiv 2311.15145).

    A tensor that appears under several names is averaged once. Call `update` after every
    optimiser step; nothing in it waits for the device.
    """

    def __init__(
        self, module: nn.Module, kind: Kind, *, decay: float = 0.999, start: int = 300
    ) -> None:
        """Raises ValueError unless 0 <= decay < 1 and start >= 1."""
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        if start < 1:
            raise ValueError(f"start must be at least 1, got {start}")
        self.kind: Kind = kind
        self.decay = decay
        self.start = start
        self.updates = 0
        self._average = {n: t.detach().clone() for n, t in unique_tensors(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the module's current weights into the average."""
        self.updates += 1
        current = unique_tensors(module)
        floating = [n for n, t in self._average.items() if t.is_floating_point()]
        others = [n for n in self._average if n not in set(floating)]
        share = self._share()
        averages = [self._average[n] for n in floating]
        values = [current[n].detach() for n in floating]
        if share >= 1.0:
            torch._foreach_copy_(averages, values)
        else:
            torch._foreach_lerp_(averages, values, share)
        for name in others:
            self._average[name].copy_(current[name])

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the weights of a module of the same architecture with the average."""
        target = unique_tensors(module)
        for name, average in self._average.items():
            target[name].copy_(average)

    def state_dict(self) -> AverageState:
        """A snapshot that shares no memory with the average."""
        return {
            "updates": self.updates,
            "tensors": {n: t.clone() for n, t in self._average.items()},
        }

    @torch.no_grad()
    def load_state_dict(self, state: AverageState) -> None:
        """Resume. Raises TrainingError if the state belongs to another architecture."""
        tensors = state["tensors"]
        for name in [*self._average, *tensors]:
            ours, theirs = self._average.get(name), tensors.get(name)
            if ours is None or theirs is None or ours.shape != theirs.shape:
                raise TrainingError(
                    f"the checkpoint's averaged weights do not fit this student at '{name}': "
                    "start a new run folder"
                )
        self.updates = int(state["updates"])
        for name, average in self._average.items():
            average.copy_(tensors[name])

    def _share(self) -> float:
        """Weight of the newest value in the average."""
        n = self.updates
        if self.kind == "ema":
            return 1.0 - min(self.decay, (1 + n) / (10 + n))
        return 1.0 if n < self.start else 1.0 / (n - self.start + 2)


def unique_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Saved parameters and buffers, each tensor under the first of its names."""
    unique: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            unique[name] = tensor
    return unique
