"""WiSE-FT: weights between the start weights and the trained ones (arXiv 2109.01903)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgedistill.train.averaging import unique_tensors
from edgedistill.train.context import TrainContext

SHARES = tuple(tenths / 10 for tenths in range(1, 11))


@dataclass(frozen=True)
class Interpolation:
    """The weights that ship, between start and training.

    Attributes:
        share: of the trained weights.
        figures: share -> the figure that selected, of every share that was validated.
    """

    share: float
    figures: Mapping[float, float]

    def as_json(self) -> dict[str, Any]:
        """The content of "wise_ft" in metrics.json."""
        validated = [{"share": share, "value": value} for share, value in self.figures.items()]
        return {"share": self.share, "validated": validated}

    def summary(self) -> str:
        """A line that says which weights ship."""
        line = f"wise_ft: {self.share:g} of the way from the start weights to the trained ones"
        if self.figures:
            line += (
                f", the smallest share within a standard error of the best source validation: "
                f"{100 * self.figures[self.share]:.1f}% ({100 * self.figures[1.0]:.1f}% at the "
                "end of the way)"
            )
        return line


def snapshot(student: nn.Module) -> dict[str, Tensor]:
    """A copy of a student's weights and statistics."""
    return {name: tensor.detach().clone() for name, tensor in unique_tensors(student).items()}


@torch.no_grad()
def interpolate_weights(
    student: nn.Module, start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float
) -> None:
    """Set a student to ``(1 - share) * start + share * trained``.

    Floating parameters and buffers, batch-norm statistics among them; integers are the trained
    ones. Both are snapshots of it.
    """
    for name, tensor in unique_tensors(student).items():
        if tensor.is_floating_point() and share < 1:
            tensor.copy_(torch.lerp(start[name], trained[name], share))
        else:
            tensor.copy_(trained[name])


def ship_interpolated(
    context: TrainContext, start: Mapping[str, Tensor], share: float | Literal["validation"]
) -> Interpolation:
    """Leave the weights that ship in the context's student, which has the trained ones.

    All processes of the context call it.

    Args:
        start: snapshot of its start weights.
        share: of the trained weights, or "validation": the smallest that is within one standard
            error of the best by the context's validator (Breiman et al. 1984, section 3.4.3).
            Start weights know more than the sources show, and a difference that source
            validation cannot tell from chance is no reason to leave them.
    """
    student, trained = context.student, snapshot(context.student)
    figures: dict[float, float] = {}
    if isinstance(share, str):
        for candidate in SHARES:
            interpolate_weights(student, start, trained, candidate)
            figures[candidate] = context.validator(context, student)[context.validator.figure]
        best = max(figures.values())
        least = best - context.validator.standard_error(best)
        chosen = min(candidate for candidate, value in figures.items() if value >= least)
    else:
        chosen = share
    interpolate_weights(student, start, trained, chosen)
    return Interpolation(chosen, figures)
