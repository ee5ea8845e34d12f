"""The student on whole images: one pass, every output."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.data.selection import Images
from edgedistill.methods import Method
from edgedistill.openset import Outputs
from edgedistill.students import MEAN, STD, Student


def normalise(pixels: Tensor) -> Tensor:
    """float32 `[B, 3, S, S]` in 0..1 to what students are fed."""
    mean = pixels.new_tensor(MEAN)[:, None, None]
    return (pixels - mean) / pixels.new_tensor(STD)[:, None, None]


@torch.no_grad()
def predict(
    student: Student,
    method: Method[Any, Any],
    pixels: Images | Tensor,
    labels: NDArray[np.int64],
    *,
    device: torch.device,
    channels_last: bool = True,
    batch: int = 256,
) -> Outputs:
    """Outputs for images of the student's input size.

    Args:
        pixels: uint8 `[N, S, S, 3]`, or float32 `[N, 3, S, S]` in 0..1.
        labels: int64 `[N]`, -1 for unknown.
    """
    was_training = student.training
    student.eval()
    logits, cosines = [], []
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        x = part.to(device) if isinstance(part, Tensor) else to_float(part, device)
        x = normalise(x)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        out = student(x)
        logits.append(out.logits.float().cpu())
        found = method.cosines(out)
        if found is not None:
            cosines.append(found.float().cpu())
    student.train(was_training)
    return Outputs(
        torch.cat(logits).numpy(), torch.cat(cosines).numpy() if cosines else None, labels
    )


def to_float(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 `[B, S, S, 3]` to float32 `[B, 3, S, S]` in 0..1."""
    # A copy: torch warns of arrays it could write to and must not, as mapped files are.
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).div(255.0)
