"""Check: what the teacher is worth on the sources, before a student learns from it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.atomic import write_json
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.store.image_store import open_store
from edgedistill.methods.reliability import Reliability, measure_reliability
from edgedistill.methods.text_bank import TextBank
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.check import (
    TeacherCheck,
    advice,
    check_teacher,
    probe_rows,
    spread,
    summary,
)
from edgedistill.teacher.view_cache.plain import plain_embeddings
from edgedistill.train.distributed import ProcessGroup

_BATCH = 4096


@dataclass(frozen=True)
class Check:
    """The stage that compares the teacher with a linear probe of its own embeddings.

    Attributes:
        batch: images that the teacher embeds at once, at most.
    """

    batch: int

    def __call__(self, folder: RunFolder, prepared: Prepared) -> TeacherCheck | None:
        """Write teacher_check.json, and say what is in it; None without a teacher.

        A warning where the method would distil what the teacher does not know. Raises CacheError
        when the cache of embeddings cannot be written or was damaged.
        """
        teacher, text = prepared.teacher, prepared.text
        if teacher is None or text is None:
            return None
        check = check_on_sources(prepared.dataset, teacher, text, self.batch)
        if check is None:
            return None
        callback, warning = callbacks.current(), advice(check)
        callback.on_note(summary(check))
        if warning is not None and prepared.method.needs_teacher:
            callback.on_warning(warning)
        use = prepared.method.describe_reliability(check.reliability())
        if use is not None:
            callback.on_note(use)
        write_json(folder.teacher_check, check.as_json())
        return check


def share_reliability(
    check: TeacherCheck | None, classes: int, processes: ProcessGroup
) -> Reliability | None:
    """The teacher's reliability, by the check of process 0, in every process of a run.

    None where there was no check. Called by all processes.
    """
    counts = torch.zeros(2, classes, dtype=torch.int64)
    if check is not None:
        counts = torch.tensor([check.right_by_class, check.images_by_class])
    right, images = processes.broadcast_tensor(counts)
    return measure_reliability(right, images) if images.any() else None


def check_on_sources(
    dataset: OpenSetSplit, teacher: Teacher, text: TextBank, batch: int
) -> TeacherCheck | None:
    """A teacher on the source domains of a dataset; None without a validation image.

    Args:
        text: of the known classes, on the teacher's device.
        batch: images that the teacher embeds at once, at most.

    Raises CacheError when the cache of embeddings cannot be written or was damaged.
    """
    split, index = dataset.split, dataset.index
    labels = split.known_label[index.label]
    store = open_store(index, teacher.size)
    train, images = map(store.images, rows_to_check(dataset))
    if not (labels[images.rows] >= 0).any():
        return None
    train_embeddings, embeddings = (
        plain_embeddings(teacher, part, batch=batch, name=f"teacher check, {name}")
        for part, name in ((train, "training images"), (images, "source validation"))
    )
    answers, scores = [], []
    for start in range(0, len(embeddings), _BATCH):
        # The cosines of all images with all classes could outgrow everything else in memory.
        batch_embeddings = torch.from_numpy(embeddings[start : start + _BATCH])
        cosines = text.cosines(batch_embeddings.to(teacher.device)).cpu().numpy()
        answers.append(cosines.argmax(1))
        scores.append(cosines.max(1))
    return check_teacher(
        teacher.name,
        np.concatenate(answers),
        np.concatenate(scores),
        len(text.pooled),
        embeddings,
        labels[images.rows],
        train_embeddings,
        labels[train.rows],
    )


def rows_to_check(dataset: OpenSetSplit) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index rows that a teacher is asked about before training.

    Training images for the probe, and source validation with images of unknown classes behind it.
    """
    index, split = dataset.index, dataset.split
    labels = split.known_label[index.label[split.train]]
    probe = split.train[probe_rows(labels, len(split.known))]
    return probe, np.concatenate([split.val, _unknown_rows(dataset)])


def _unknown_rows(dataset: OpenSetSplit) -> NDArray[np.int64]:
    """Images of unknown classes in the source domains, index rows; no test image.

    At most as many as validation images: the AUROC's error is that of the fewer ones.
    """
    index, split = dataset.index, dataset.split
    sources = [index.domains.index(name) for name in split.sources]
    unknown = [index.class_id(name) for name in split.unknown]
    rows = np.flatnonzero(np.isin(index.domain, sources) & np.isin(index.label, unknown))
    rows = np.setdiff1d(rows, dataset.target)
    return rows[spread(len(rows), len(split.val))]
