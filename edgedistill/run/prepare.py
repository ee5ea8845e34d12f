"""What a run works with: teacher, student, decoded images, and the teacher's answers to them."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill._utils.console import Display
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.data.views import ViewBatch, draw_views
from edgedistill.errors import DataError, EdgeDistillError
from edgedistill.methods import METHODS, Method
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe import Recipe
from edgedistill.students import Student
from edgedistill.students.assemble import assemble_student
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.text import build_text_bank, class_names
from edgedistill.teacher.view_cache.recipe import build_for, teacher_normalization, view_spec
from edgedistill.train.batches import Batch
from edgedistill.train.context import TeacherFn
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import to_device
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class RunImages:
    """The images of a run.

    Attributes:
        store: every image, at the size that views are cut from.
        train: training images of `store`, each source domain among them.
        val, target: whole images at the student's size.
        teacher_val, teacher_target: the same at the teacher's size, None without a teacher.
    """

    store: Store
    train: LabelledImages
    val: LabelledImages
    target: LabelledImages
    teacher_val: LabelledImages | None
    teacher_target: LabelledImages | None


def find_teacher(recipe: Recipe, device: torch.device, display: Display) -> Teacher | None:
    """The teacher; None with a warning where the method can do without it."""
    try:
        return load_teacher(recipe.teacher.model, recipe.teacher.pretrained, device)
    except EdgeDistillError as error:
        if METHODS[recipe.method.name].needs_teacher:
            raise
        display.warn(f"no teacher to compare with: {error}")
        return None


def load_texts(recipe: Recipe, dataset: OpenSetSplit, teacher: Teacher) -> TextBank:
    """The texts of the known classes, encoded once, on the CPU."""
    prompts = recipe.prompts
    names = class_names(
        dataset.split.known, dataset.index.names, prompts.names, prompts.keep_underscores
    )
    return build_text_bank(
        teacher.encode_texts, names, prompts.templates, prompts.pool, teacher.logit_scale
    )


def build_student(
    recipe: Recipe,
    method: Method[Any, Any],
    classes: int,
    teacher: Teacher | None,
    device: torch.device,
) -> tuple[Student, OpenSetHead]:
    """The student with its start weights, and its open-set head.

    Raises RecipeError for a score that the method cannot give.
    """
    torch.manual_seed(recipe.seed)
    student = assemble_student(
        recipe.student.model,
        method,
        classes,
        weights=recipe.student.weights,
        size=recipe.student.size,
        teacher=teacher.fingerprint if teacher else None,
        freeze_bn=recipe.student.freeze_bn,
    )
    head = OpenSetHead(
        recipe.openset.score,
        mean=student.mean,
        std=student.std,
        texts=None if method.text is None else method.text.references,
    ).to(device)
    use_fast_convolutions(student)
    student.to(device)
    if recipe.train.channels_last:
        student.to(memory_format=torch.channels_last)
    # A score the method cannot give is better refused now than after training.
    blank = np.zeros((1, recipe.student.size, recipe.student.size, 3), np.uint8)
    labelled = LabelledImages(ImageSet.from_array(blank), np.zeros(1, np.int64))
    predict(student, head, labelled, device=device)
    return student, head


def decode(
    recipe: Recipe, dataset: OpenSetSplit, teacher: Teacher | None, display: Display
) -> RunImages:
    """Decode whatever the run reads, the test images too: a full disk shows before training."""
    size = recipe.student.size
    largest = max(size, teacher.size if teacher else 0)
    if recipe.views.store_size < largest:
        display.warn(
            f"views.store_size {recipe.views.store_size} is below the input side {largest}: "
            "crops are enlarged"
        )
    index, split = dataset.index, dataset.split
    store = open_store(index, recipe.views.store_size)
    train = dataset.label(store.images(split.train))
    whole = open_store(index, size)
    val, target = (dataset.label(whole.images(rows)) for rows in (split.val, dataset.target))
    _report_files(display, train, val, target)
    teacher_val = teacher_target = None
    if teacher is not None:
        whole = open_store(index, teacher.size)
        teacher_val = dataset.label(whole.images(split.val))
        teacher_target = dataset.label(whole.images(dataset.target))
    _refuse_empty_domains(dataset, train)
    return RunImages(store, train, val, target, teacher_val, teacher_target)


def _refuse_empty_domains(dataset: OpenSetSplit, train: LabelledImages) -> None:
    index = dataset.index
    for name in dataset.split.sources:
        if index.domains.index(name) not in index.domain[train.images.rows]:
            raise DataError(f"data: no readable training image in domain {name!r}")


def _report_files(display: Display, *parts: LabelledImages) -> None:
    problems = sorted({line for part in parts for line in part.images.problems})
    if problems:
        more = f" (and {len(problems) - 1} more, see data info)" if len(problems) > 1 else ""
        display.warn(f"{len(problems)} image files need attention: {problems[0]}{more}")


def fingerprints(
    method: Method[Any, Any], teacher: Teacher | None, student: Student, dataset: OpenSetSplit,
    images: RunImages,
) -> dict[str, str | None]:  # fmt: skip
    """Hashes of what a checkpoint only fits together with, see `check_fingerprints`."""
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(student.state_dict().items()):
        weights.update(name.encode())
        weights.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        )
    content = hashlib.blake2b(digest_size=16)
    rows = np.concatenate([images.train.images.rows, images.val.images.rows])
    content.update(os.fsencode("\n".join(dataset.index.paths[row] for row in rows)))
    content.update(dataset.split.known_label[dataset.index.label[rows]].tobytes())
    content.update(images.store.hashes[rows].tobytes())
    return {
        "teacher": teacher.fingerprint if teacher and method.needs_teacher else None,
        "start_weights": weights.hexdigest(),
        "images": content.hexdigest(),
    }


def build_teacher_fn(
    recipe: Recipe,
    method: Method[Any, Any],
    teacher: Teacher | None,
    images: ImageSet,
    display: Display,
) -> TeacherFn | None:
    """How the loop gets the teacher's embeddings: from the cache, or on the fly."""
    if teacher is None or not method.needs_teacher:
        return None
    known = teacher
    if recipe.views.count == 0:
        mean, std = teacher_normalization(recipe) or (None, None)

        def embed(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
            return known.encode_images(views.render(known.size, rows), mean, std)

        return embed
    with display.bar("teacher views", "images") as bar:
        note = "another process fills this view cache; waiting for it"
        cache = build_for(recipe, teacher, images, bar, lambda: display.note(note))

    def look_up(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        # The whole batch, and the rows on the device: the host does not know them there.
        found = to_device(cache.lookup(images.rows[batch.positions], batch.views), known.device)
        # float16 moved the length by up to a few 1e-4.
        return torch.nn.functional.normalize(found if rows is None else found[rows], dim=1)

    return look_up


def validation(
    recipe: Recipe, dataset: OpenSetSplit, images: RunImages
) -> tuple[LabelledImages, NDArray[np.float32] | None]:
    """Source-validation images, whole, or with the parameters of the one view of each to cut."""
    if not recipe.train.augmented_validation:
        return images.val, None
    stored = images.store.images(images.val.images.rows)
    numbers = np.zeros(len(stored), np.int64)
    paths = (stored.paths[row] for row in stored.rows)
    return dataset.label(stored), draw_views(view_spec(recipe), paths, numbers)
