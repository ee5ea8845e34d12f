"""Answers of a student to images or to one view of each, behind its open-set head."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.images import LabelledImages
from edgedistill.data.pixels import normalize
from edgedistill.data.views import ViewBatch
from edgedistill.openset import Outputs
from edgedistill.openset.head import OpenSetHead, OpenSetOutput
from edgedistill.students import Student
from edgedistill.train.distributed import ProcessGroup

_ALONE = ProcessGroup()


@torch.no_grad()
def predict(
    student: Student,
    head: OpenSetHead,
    labelled: LabelledImages,
    *,
    device: torch.device,
    channels_last: bool = True,
    batch: int = 256,
    processes: ProcessGroup = _ALONE,
    views: NDArray[np.float32] | None = None,
    size: int | None = None,
) -> Outputs:
    """Answers to N whole images of the student's input size, or to a view of each image.

    Args:
        student, head: on `device`.
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
    accept_all = torch.tensor(-math.inf, device=device)
    answers: list[OpenSetOutput] = []
    for start in range(own.start, own.stop, batch):
        rows = slice(start, min(start + batch, own.stop))
        # A copy: torch warns of arrays it could write to and must not, as mapped files are.
        pixels = torch.from_numpy(np.array(labelled.images[rows])).to(device)
        if views is None:
            x = head.normalize(pixels)
        else:
            assert size is not None
            batch_views = ViewBatch(pixels, torch.from_numpy(views[rows]).to(device))
            x = normalize(batch_views.render(size), head.mean, head.std)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        out = student(x)
        projected = None if out.projected is None else out.projected.float()
        # Fetched at the end: fetching makes the host wait.
        answers.append(head(out.logits.float(), projected, accept_all))
    student.train(was_training)
    predictions, scores, probabilities = (
        processes.gather(torch.cat(parts), count).cpu().numpy()
        for parts in zip(*answers, strict=True)
    )
    return Outputs(predictions, scores, probabilities, labelled.labels)
