"""The first stage of a pretraining: images, teacher, student, and what they are measured with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from edgedistill import callbacks
from edgedistill.data.datasets.load import load_index
from edgedistill.data.identity import identify_unlabelled
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.index import Index
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.errors import DataError
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import evaluate
from edgedistill.pretraining.images import Listing, part_of
from edgedistill.pretraining.objective import Objective, ObjectiveHyper
from edgedistill.pretraining.validate import TeacherCosine, ZeroShot
from edgedistill.pretraining.vocabulary import word_texts
from edgedistill.recipe.load import teacher_model
from edgedistill.recipe.pretraining import PretrainingRecipe
from edgedistill.recipe.schema import DataSection
from edgedistill.runs.folder import check_fingerprints, write_environment, write_images
from edgedistill.runs.stages.prepare import fingerprints
from edgedistill.runs.workspace import Workspace
from edgedistill.students import Student
from edgedistill.students.assemble import assemble_student
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import check_class_texts, encode_class_texts
from edgedistill.teacher.view_cache.plain import open_plain_cache, plain_embeddings
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import torch_environment


@dataclass(frozen=True)
class Prepared:
    """Everything that training needs beside the teacher's embeddings of views.

    Attributes:
        images: training images, of one domain; their labels are all 0 and read by nobody.
        teacher_zero_shot: "accuracy" and "auroc" of the teacher on the labelled images.
        left_out: a line each for what was listed or read and is not used.
    """

    teacher: Teacher
    objective: Objective
    student: Student
    images: LabelledImages
    validator: TeacherCosine
    teacher_zero_shot: dict[str, Any] | None
    left_out: tuple[str, ...]


def prepare(recipe: PretrainingRecipe, listing: Listing, workspace: Workspace) -> Prepared:
    """Load and decode everything, and record it in the working folder.

    Raises DataError, WeightsError, RecipeError, CacheError or RunFolderError.
    """
    device, callback = workspace.device, callbacks.current()
    callback.on_note(
        f"{listing.index.root}: {len(listing.train)} images to train on, "
        f"{len(listing.held_out)} held out"
    )
    section = recipe.teacher
    teacher = load_teacher(teacher_model(section), section.pretrained, device, section.size)
    text = TextBank.empty(teacher.width)
    if recipe.loss.words is not None:
        text = word_texts(recipe.loss.words, recipe.prompts, teacher)
    hyper = ObjectiveHyper(**recipe.loss.model_dump(exclude={"words"}))
    objective = Objective(hyper, text=text.to(device))
    student = _build_student(recipe, objective, teacher, device)
    largest = max(recipe.student.size, teacher.size)
    if recipe.views.store_size < largest:
        callback.on_warning(
            f"views.store_size {recipe.views.store_size} is below the input side {largest}: crops "
            "are enlarged"
        )
    store = open_store(listing.index, recipe.views.store_size)
    left_out = (*listing.index.omitted, *_unreadable(store))
    for line in left_out:
        callback.on_warning(f"data: {line}")
    images = store.images(listing.train)
    validator, measured = _validator(recipe, listing, store, teacher)
    if workspace.processes.rank == 0:
        held_out = listing.held_out[store.readable[listing.held_out]]
        image_identity = identify_unlabelled(listing.index, images.rows, held_out, store.hashes)
        identity = fingerprints(objective, teacher, student, image_identity)
        check_fingerprints(workspace.folder, identity, image_identity)
        write_images(workspace.folder, image_identity)
        environment = {
            "device": str(device),
            "precision": str(workspace.dtype or torch.float32).removeprefix("torch."),
            "processes": workspace.processes.size,
            **torch_environment(),
            "identity": identity,
        }
        write_environment(workspace.folder, environment)
    labels, positions = np.zeros(len(images), np.int64), np.arange(len(images))
    labelled = LabelledImages(images, labels, (positions,))
    return Prepared(teacher, objective, student, labelled, validator, measured, left_out)


def _build_student(
    recipe: PretrainingRecipe, objective: Objective, teacher: Teacher, device: torch.device
) -> Student:
    torch.manual_seed(recipe.seed)
    student = assemble_student(
        recipe.student.model,
        objective,
        0,
        weights=recipe.student.weights,
        size=recipe.student.size,
        teacher=teacher.fingerprint,
        freeze_bn=recipe.student.freeze_bn,
    )
    use_fast_convolutions(student)
    student.to(device)
    if recipe.train.channels_last:
        student.to(memory_format=torch.channels_last)
    return student


def _unreadable(store: Store) -> tuple[str, ...]:
    rows = np.flatnonzero(~store.readable)
    if not len(rows):
        return ()
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return (f"{len(rows)} files cannot be read: {store.problems(rows[:1])[0]}{more}",)


def _validator(
    recipe: PretrainingRecipe, listing: Listing, store: Store, teacher: Teacher
) -> tuple[TeacherCosine, dict[str, Any] | None]:
    """The validator, and the teacher's own zero-shot figures where there are labelled images.

    Raises DataError where no held-out image can be read.
    """
    rows = listing.held_out[store.readable[listing.held_out]]
    if not len(rows):
        raise DataError(
            f"data.images: none of the {len(listing.held_out)} held-out images can be read; "
            "replace the files, or raise data.held_out"
        )
    held_out, everything = part_of(listing.index, rows), np.arange(len(rows))
    at_teacher = open_store(held_out, teacher.size).images(everything)
    embeddings = plain_embeddings(
        teacher, at_teacher, batch=recipe.teacher.batch, name="teacher on held-out images"
    )
    images = open_store(held_out, recipe.student.size).images(everything)
    validator = TeacherCosine(images, embeddings, None)
    if recipe.data.labelled is None:
        return validator, None
    shown, measured = _zero_shot(recipe, recipe.data.labelled, teacher)
    return replace(validator, zero_shot=shown), measured


def _zero_shot(
    recipe: PretrainingRecipe, name: str, teacher: Teacher
) -> tuple[ZeroShot, dict[str, Any]]:
    """Labelled images with their class texts, and the teacher's own figures on them."""
    teacher.require_texts()
    index, callback = load_index(DataSection(dataset=name)), callbacks.current()
    known = tuple(cls for cls in index.classes if cls not in index.unknown)
    if len(known) < 2:
        raise DataError(f"data.labelled: {name} has {len(known)} classes; it needs two or more")
    for line in index.omitted:
        callback.on_warning(f"data: {index.root}: left out {line}")
    for line in check_class_texts(recipe.prompts, known, index.names, teacher):
        callback.on_warning(line)
    text = encode_class_texts(recipe.prompts, known, index.names, teacher).to(teacher.device)
    at_teacher = _labelled(index, known, teacher.size)
    cache = open_plain_cache(
        teacher, at_teacher.images, batch=recipe.teacher.batch, name="teacher on labelled images"
    )
    outputs = zero_shot(teacher, text, at_teacher, cache)
    metrics = evaluate(outputs, threshold=-np.inf, known=known)
    images = _labelled(index, known, recipe.student.size)
    figures = {key: metrics[key] for key in ("accuracy", "auroc")}
    return ZeroShot(known, text, images), figures


def _labelled(index: Index, known: tuple[str, ...], size: int) -> LabelledImages:
    images: ImageSet = open_store(index, size).images(np.arange(len(index)))
    position = np.array([known.index(c) if c in known else -1 for c in index.classes], np.int64)
    return LabelledImages(images, position[index.label[images.rows]])
