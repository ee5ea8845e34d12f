"""Check: what the teacher is worth on the sources, before a student learns from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.atomic import write_json
from edgedistill.data.images import ImageSet
from edgedistill.data.pixels import to_chw_float
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.store.image_store import open_store
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.teacher.check import advice, check_teacher, probe_rows, spread, summary
from edgedistill.teacher.open_clip import Teacher

_BATCH = 128


@dataclass(frozen=True)
class Check:
    """The stage that compares the teacher with a linear probe of its own embeddings."""

    def __call__(self, folder: RunFolder, prepared: Prepared) -> dict[str, Any] | None:
        """Write teacher_check.json, and say what is in it; None without a teacher.

        A warning where the method would distil what the teacher does not know.
        """
        teacher, text = prepared.teacher, prepared.text
        if teacher is None or text is None:
            return None
        dataset, callback = prepared.dataset, callbacks.current()
        store = open_store(dataset.index, teacher.size)
        labels = dataset.split.known_label[dataset.index.label]
        split = dataset.split
        if not len(split.val):
            return None
        train = split.train[probe_rows(labels[split.train], len(split.known))]
        images = store.images(np.concatenate([split.val, _unknown_rows(dataset)]))
        train_images = store.images(train)
        with callback.progress("teacher check", "images") as report:
            total = len(images) + len(train_images)
            embeddings = _embed(teacher, images, lambda done: report(done, total))
            train_embeddings = _embed(
                teacher, train_images, lambda done: report(len(images) + done, total)
            )
        cosines = text.cosines(torch.from_numpy(embeddings).to(teacher.device)).cpu().numpy()
        check = check_teacher(
            teacher.name,
            cosines,
            embeddings,
            labels[images.rows],
            train_embeddings,
            labels[train_images.rows],
        )
        callback.on_note(summary(check))
        warning = advice(check)
        if warning is not None and prepared.method.needs_teacher:
            callback.on_warning(warning)
        write_json(folder.teacher_check, check.as_json())
        return check.as_json()


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


def _embed(
    teacher: Teacher, images: ImageSet, report: Callable[[int], None]
) -> NDArray[np.float32]:
    """Embeddings of whole images, `[N, D]`, unit norm."""
    parts = [np.zeros((0, teacher.width), np.float32)]
    for start in range(0, len(images), _BATCH):
        # A copy: torch warns of arrays it could write to and must not, as mapped files are.
        pixels = torch.from_numpy(np.array(images[start : start + _BATCH]))
        parts.append(
            teacher.encode_images(to_chw_float(pixels.to(teacher.device)) / 255).cpu().numpy()
        )
        report(min(start + _BATCH, len(images)))
    return np.concatenate(parts)
