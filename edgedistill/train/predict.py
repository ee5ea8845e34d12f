"""Answers of a student to images or to one view of each, behind its open-set head."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.pixels import normalize, to_chw_float
from edgedistill.data.views import ViewBatch
from edgedistill.errors import DivergedError
from edgedistill.openset import Outputs, ProbabilityRange
from edgedistill.openset.head import OpenSetHead, OpenSetOutput
from edgedistill.students import Student
from edgedistill.train.distributed import ProcessGroup

_ALONE = ProcessGroup()


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
    classes = 0

    def condense(answers: OpenSetOutput) -> tuple[torch.Tensor, ...]:
        nonlocal classes
        classes = answers.probabilities.shape[1]
        return answers.condensed()

    predictions, scores, top, highest, lowest = _answer(
        condense,
        student,
        head,
        labelled,
        device=device,
        channels_last=channels_last,
        batch=batch,
        processes=processes,
        views=views,
        size=size,
    )
    probabilities = ProbabilityRange(top, highest, lowest, classes)
    return Outputs(predictions, scores, probabilities, labelled.labels)


def label_losses(
    student: Student, head: OpenSetHead, labelled: LabelledImages, **options: Any
) -> NDArray[np.float64]:
    """Cross-entropy of each of N images, float64 `[N]`. Arguments as in `predict`."""
    (probabilities,) = _answer(
        lambda answers: (answers.probabilities,), student, head, labelled, **options
    )
    of_labels = probabilities[np.arange(len(labelled)), labelled.labels].astype(np.float64)
    return -np.log(np.maximum(of_labels, np.finfo(np.float32).tiny))


def predict_probabilities(
    student: Student, head: OpenSetHead, images: ImageSet, *, device: torch.device
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Predictions `[N]`, scores `[N]` and probabilities `[N, C]` of whole images, see `predict`.

    C numbers for each image: for a sample of them. Raises DivergedError for what is not finite.
    """
    unlabelled = LabelledImages(images, np.full(len(images), -1, np.int64))
    predictions, scores, probabilities = _answer(
        tuple,
        student,
        head,
        unlabelled,
        device=device,
        channels_last=False,
        batch=256,
        processes=_ALONE,
        views=None,
        size=None,
    )
    # Refuses what is not finite.
    Outputs(predictions, scores, ProbabilityRange.of(probabilities), unlabelled.labels)
    return predictions, scores, probabilities


@torch.no_grad()
def project(
    student: Student,
    images: ImageSet,
    *,
    device: torch.device,
    channels_last: bool = True,
    batch: int = 256,
    processes: ProcessGroup = _ALONE,
) -> NDArray[np.float32]:
    """Projections of whole images of the student's input size: unit-norm float32 `[N, D]`.

    Arguments as in `predict`. Raises DivergedError for what is not finite, ValueError for a student
    that does not project.
    """
    was_training = student.training
    student.eval()
    count = len(images)
    if count < processes.size:
        processes = _ALONE
    own = processes.shard(count)
    parts = []
    for start in range(own.start, own.stop, batch):
        pixels = torch.from_numpy(np.array(images[start : min(start + batch, own.stop)]))
        x = normalize(to_chw_float(pixels.to(device)) / 255, student.mean, student.std)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        projected = student(x).projected
        if projected is None:
            raise ValueError("the student does not project into the teacher's space")
        parts.append(projected.float())
    student.train(was_training)
    embeddings = processes.gather(torch.cat(parts), count).cpu().numpy()
    if not np.isfinite(embeddings).all():
        raise DivergedError("projections are not finite")
    return embeddings


@torch.no_grad()
def _answer(
    part: Callable[[OpenSetOutput], tuple[torch.Tensor, ...]],
    student: Student,
    head: OpenSetHead,
    labelled: LabelledImages,
    *,
    device: torch.device,
    channels_last: bool,
    batch: int,
    processes: ProcessGroup,
    views: NDArray[np.float32] | None,
    size: int | None,
) -> list[NDArray[Any]]:
    """Arrays `[N, ...]` of what `part` keeps of the answers to each batch, see `predict`."""
    was_training = student.training
    student.eval()
    count = len(labelled)
    if count < processes.size:
        processes = _ALONE
    own = processes.shard(count)
    accept_all = torch.tensor(-math.inf, device=device)
    answers: list[tuple[torch.Tensor, ...]] = []
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
        answers.append(part(head(out.logits.float(), projected, accept_all)))
    student.train(was_training)
    return [
        processes.gather(torch.cat(parts), count).cpu().numpy()
        for parts in zip(*answers, strict=True)
    ]
