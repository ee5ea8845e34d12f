"""Folder, device and processes of a run."""

from dataclasses import dataclass

import torch

from edgedistill.runs.folder import RunFolder
from edgedistill.train.distributed import ProcessGroup


@dataclass(frozen=True)
class Workspace:
    """The folder, device and processes that all stages of a run share.

    Attributes:
        folder: where process 0 writes.
        device: of this process.
        dtype: what the student's forward pass is autocast to in training, None for plain float32.
        processes: those that do the run together, each with a workspace of its own.
    """

    folder: RunFolder
    device: torch.device
    dtype: torch.dtype | None
    processes: ProcessGroup
