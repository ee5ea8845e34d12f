"""The student on whole images: one pass, every output."""

from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.methods import Method
from edgedistill.openset import Outputs
from edgedistill.students.torchvision import MEAN, STD, Student
from edgedistill.train.distributed import ProcessGroup

_ALONE = ProcessGroup()


class Pixels(Protocol):
    """Images that are read slice by slice.

    A slice is uint8 `[n, S, S, 3]`, or a float32 tensor `[n, 3, S, S]` in 0..1.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Any: ...


def normalize(pixels: Tensor) -> Tensor:
    """float32 `[B, 3, S, S]` in 0..1 to what students are fed."""
    mean, std = _statistics(pixels.device)
    return (pixels - mean) / std


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: sending them there makes the host wait.
    mean, std = (torch.tensor(values, device=device) for values in (MEAN, STD))
    return mean[:, None, None], std[:, None, None]


@torch.no_grad()
def predict(
    student: Student,
    method: Method[Any, Any],
    pixels: Pixels,
    labels: NDArray[np.int64],
    *,
    device: torch.device,
    channels_last: bool = True,
    batch: int = 256,
    processes: ProcessGroup = _ALONE,
) -> Outputs:
    """Outputs for images of the student's input size.

    Args:
        pixels: N images.
        labels: int64 `[N]`, -1 for unknown.
        processes: processes that all call this, and share the work.
    """
    was_training = student.training
    student.eval()
    count = len(pixels)
    if count < processes.size:
        processes = _ALONE
    own = processes.shard(count)
    logits, cosines = [], []
    for start in range(own.start, own.stop, batch):
        part = pixels[start : min(start + batch, own.stop)]
        x = part.to(device) if isinstance(part, Tensor) else to_float(part, device)
        x = normalize(x)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        out = student(x)
        # Fetched at the end: fetching makes the host wait.
        logits.append(out.logits.float())
        found = method.cosines(out)
        if found is not None:
            cosines.append(found.float())
    student.train(was_training)
    all_logits, all_cosines = (
        processes.gather(torch.cat(parts), count).cpu().numpy() if parts else None
        for parts in (logits, cosines)
    )
    assert all_logits is not None
    return Outputs(all_logits, all_cosines, labels)


def to_float(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 `[B, S, S, 3]` to float32 `[B, 3, S, S]` in 0..1."""
    # A copy: torch warns of arrays it could write to and must not, as mapped files are.
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).div(255.0)
