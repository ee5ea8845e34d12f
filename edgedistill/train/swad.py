"""SWAD: the mean of a run's weights between the fit and the overfit of the validation loss.

"SWAD: Domain Generalization by Seeking Flat Minima", arXiv 2102.08604, NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from edgedistill.errors import TrainingError
from edgedistill.train.averaging import unique_tensors


class Segment(TypedDict):
    """Mean of the weights of some steps, and the validation loss at their end."""

    tensors: dict[str, Tensor]
    steps: int
    loss: float


class DenseAverage:
    """A mean of every step's weights, from a start to an end that validation losses choose.

    Algorithm 1 of the paper, with validations in place of iterations: the start is the first
    validation whose loss is the least of ``start`` in a row, and the end comes before the first
    ``end`` in a row whose losses all exceed ``tolerance`` times the mean of those. Steps count as
    part of the validation that follows them. Before a start is seen, the answer is the mean since
    the last validation but one, as in the authors' code.

    Keeps up to max(start, end) + 2 copies of the weights. Integers are those of the last step.
    """

    def __init__(self, module: nn.Module, *, start: int, end: int, tolerance: float) -> None:
        self.start, self.end, self.tolerance = start, end, tolerance
        self._open: Segment = {"tensors": _copies(module), "steps": 0, "loss": 0.0}
        self._recent: list[Segment] = []
        self._before: Segment | None = None
        self._limit: float | None = None
        self._ended = False

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take the weights after a step into the average."""
        self._open["steps"] += 1
        _blend(self._open["tensors"], _copies(module), 1 / self._open["steps"])

    @torch.no_grad()
    def close(self, loss: float) -> None:
        """Note the validation loss after the last `update`."""
        closed: Segment = {**self._open, "loss": loss}
        tensors = {name: tensor.clone() for name, tensor in closed["tensors"].items()}
        self._open = {"tensors": tensors, "steps": 0, "loss": 0.0}
        if self._ended:
            return
        self._recent.append(closed)
        if self._limit is None:
            self._recent = self._recent[-self.start :]
            losses = [segment["loss"] for segment in self._recent]
            if len(losses) == self.start and losses[0] == min(losses):
                self._limit = self.tolerance * sum(losses) / self.start
            return
        while len(self._recent) > self.end:
            self._before = _joined([*([self._before] if self._before else []), self._recent.pop(0)])
        least = min(segment["loss"] for segment in self._recent)
        if len(self._recent) == self.end and least > self._limit:
            self._recent, self._ended = [], True

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the weights of a module of the same architecture with the average."""
        parts = [*([self._before] if self._before else []), *self._recent]
        if self._limit is None:
            parts = parts[-1:]
        average = _joined(parts)["tensors"]
        for name, tensor in unique_tensors(module).items():
            tensor.copy_(average[name])

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: tensors and numbers."""
        return {
            "open": _frozen(self._open),
            "recent": [_frozen(segment) for segment in self._recent],
            "before": None if self._before is None else _frozen(self._before),
            "limit": self._limit,
            "ended": self._ended,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume. Raises TrainingError if the state belongs to another architecture."""
        own = self._open["tensors"]
        device = next(iter(own.values())).device
        segments = [
            state["open"],
            *state["recent"],
            *([state["before"]] if state["before"] else []),
        ]
        for segment in segments:
            shapes = {name: tensor.shape for name, tensor in segment["tensors"].items()}
            if shapes != {name: tensor.shape for name, tensor in own.items()}:
                raise TrainingError(
                    "the checkpoint's averaged weights do not fit this student: start a new run "
                    "folder"
                )
        self._open = _frozen(state["open"], device)
        self._recent = [_frozen(segment, device) for segment in state["recent"]]
        self._before = None if state["before"] is None else _frozen(state["before"], device)
        self._limit, self._ended = state["limit"], state["ended"]


def _copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in unique_tensors(module).items()}


def _frozen(segment: Segment, device: torch.device | None = None) -> Segment:
    tensors = {name: tensor.to(device, copy=True) for name, tensor in segment["tensors"].items()}
    return {**segment, "tensors": tensors}


def _joined(segments: Iterable[Segment]) -> Segment:
    """The mean of several segments, each counted by its steps."""
    first, *others = segments
    total = _frozen(first)
    for segment in others:
        total["steps"] += segment["steps"]
        _blend(total["tensors"], segment["tensors"], segment["steps"] / total["steps"])
    return total


def _blend(into: dict[str, Tensor], other: dict[str, Tensor], share: float) -> None:
    for name, tensor in into.items():
        if tensor.is_floating_point():
            tensor.lerp_(other[name], share)
        else:
            tensor.copy_(other[name])
