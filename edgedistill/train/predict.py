"""The student on whole images: one pass, every output."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.images import LabelledImages
from edgedistill.data.pixels import normalize, to_chw_float
from edgedistill.data.views import ViewBatch
from edgedistill.methods import Method
from edgedistill.openset import Outputs
from edgedistill.students import Student
from edgedistill.train.distributed import ProcessGroup

_ALONE = ProcessGroup()


@torch.no_grad()
def predict(
    student: Student,
    method: Method[Any, Any],
    labelled: LabelledImages,
    *,
    device: torch.device,
    channels_last: bool = True,
    batch: int = 256,
    processes: ProcessGroup = _ALONE,
    views: NDArray[np.float32] | None = None,
    size: int | None = None,
) -> Outputs:
    """Outputs for N whole images of the student's input size, or for a view of each image.

    Args:
        views: `[N, 10]`, parameters of the views, see `view_parameters`; None: whole images.
        size: side of the views in pixels.
        processes: processes that all call this, and share the work.
    """
    was_training = student.training
    student.eval()
    count = len(labelled)
    if count < processes.size:
        processes = _ALONE
    own = processes.shard(count)
    logits, cosines = [], []
    for start in range(own.start, own.stop, batch):
        rows = slice(start, min(start + batch, own.stop))
        # A copy: torch warns of arrays it could write to and must not, as mapped files are.
        pixels = torch.from_numpy(np.array(labelled.images[rows])).to(device)
        if views is None:
            x = to_chw_float(pixels) / 255
        else:
            assert size is not None
            x = ViewBatch(pixels, torch.from_numpy(views[rows]).to(device)).render(size)
        x = normalize(x, student.mean, student.std)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        out = student(x)
        # Fetched at the end: fetching makes the host wait.
        logits.append(out.logits.float())
        batch_cosines = method.cosines(out)
        if batch_cosines is not None:
            cosines.append(batch_cosines.float())
    student.train(was_training)
    all_logits, all_cosines = (
        processes.gather(torch.cat(parts), count).cpu().numpy() if parts else None
        for parts in (logits, cosines)
    )
    assert all_logits is not None
    return Outputs(all_logits, all_cosines, labelled.labels)
