"""Prepare: images, teacher, class texts, method and student, and what they are fingerprinted by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from edgedistill import callbacks
from edgedistill.data.identity import ImageIdentity, hash_images, identify_images
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.protocols.split import MEASURED, source_unknown_rows
from edgedistill.data.spelling import similar_names
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.data.unlabelled import open_unlabelled
from edgedistill.errors import DataError, RecipeError, WeightsError
from edgedistill.methods import Method
from edgedistill.methods.functional import UNLABELLED
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import too_few_images
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.schema import (
    DataSection,
    MethodSection,
    PromptsSection,
    StudentSection,
    TeacherSection,
)
from edgedistill.registries import METHODS, SCORES
from edgedistill.runs.folder import check_fingerprints, write_environment, write_images
from edgedistill.runs.start_student import StartStudent, start_student
from edgedistill.runs.workspace import Workspace
from edgedistill.students import Student
from edgedistill.students.assemble import assemble_with_projection
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import check_class_texts, encode_class_texts
from edgedistill.teacher.vocabulary import with_vocabulary
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import torch_environment
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class PreparedImages:
    """The images of a run.

    Attributes:
        store: every image, at the size that views are cut from.
        train: training images of `store`, each source domain among them.
        val: whole images at the student's size.
        target: the same of the test images; of an unlabelled target its images, each of label -1;
            no image where nothing is tested.
        teacher_val, teacher_target: at the teacher's size, None without a teacher; `teacher_target`
            also where there are no labels to measure it by.
        source_unknown: images of unknown classes in the source domains at the student's size, None
            where they are not measured.
        unlabelled: images without labels that join the training, at the size of `store`, a set for
            each entry of the recipe.
    """

    store: Store
    train: LabelledImages
    val: LabelledImages
    target: LabelledImages
    teacher_val: LabelledImages | None
    teacher_target: LabelledImages | None
    source_unknown: LabelledImages | None = None
    unlabelled: tuple[ImageSet, ...] = ()

    def to_train_on(self) -> LabelledImages:
        """The training images, and those without a label behind them."""
        if not self.unlabelled:
            return self.train
        joined = ImageSet.join([self.train.images, *self.unlabelled])
        labels = np.full(len(joined), UNLABELLED, np.int64)
        labels[: len(self.train)] = self.train.labels
        return LabelledImages(joined, labels, self.train.domains)


@dataclass(frozen=True)
class Prepared:
    """Outputs of `Prepare`, on the run's device.

    Attributes:
        teacher, text: None where the method needs no teacher and there is none.
        openset: the student's open-set head, without a threshold yet.
        environment: what environment.json holds; empty in other processes than the first.
        warnings: what a person should look at in the unlabelled images, a line each.
        start: the student as it is before training; None where its start weights have no projection
            into the teacher's space.
    """

    dataset: OpenSetSplit
    images: PreparedImages
    teacher: Teacher | None
    text: TextBank | None
    method: Method[Any, Any]
    student: Student
    openset: OpenSetHead
    environment: dict[str, Any]
    warnings: tuple[str, ...] = ()
    start: StartStudent | None = None


@dataclass(frozen=True)
class Prepare:
    """The first stage of a run.

    Attributes:
        store_size: side in pixels of the images that views are cut from.
        score: openness score of the open-set head.
        keep: share of known images that the threshold will be calibrated to keep.
        source_unknowns: whether images of unknown classes in the source domains are measured.
        channels_last: memory layout of the student.
        seed: of the student's random weights.
        unlabelled_per_step: images without a label that join every step; 0 without training.
    """

    data: DataSection
    teacher: TeacherSection
    prompts: PromptsSection
    method: MethodSection
    student: StudentSection
    store_size: int
    score: str
    keep: float
    source_unknowns: bool
    channels_last: bool
    seed: int
    unlabelled_per_step: int = 0

    def __call__(self, workspace: Workspace) -> Prepared:
        """Load and decode everything a run reads, the test images too.

        A full disk, a score that the method cannot give and a checkpoint of other inputs thus show
        before training. Raises DataError, WeightsError, RecipeError, CacheError or RunFolderError.
        """
        device = workspace.device
        dataset = resolve_split(self.data)
        _announce(self.data.dataset, dataset)
        for line in data_warnings(dataset):
            callbacks.current().on_warning(line)
        kind = METHODS[self.method.name]
        hyper = kind.Hyper(**self.method.hyper)
        teacher = find_teacher(self.teacher, device, required=kind.needs_teacher)
        text = None
        needs_vocabulary = SCORES[self.score].needs_vocabulary
        if self.prompts.vocabulary is not None and not needs_vocabulary:
            callbacks.current().on_warning(
                f"prompts.vocabulary: the score {self.score} reads no words; set openset.score to "
                "known_mass, or leave the words out"
            )
        if teacher is not None:
            sentences = kind.sentences(hyper)
            text = class_texts(self.prompts, dataset, teacher, kind.needs_teacher, sentences)
            if needs_vocabulary and kind.projects:
                known, names = dataset.split.known, dataset.index.names
                text = with_vocabulary(text, self.prompts, known, names, teacher)
            text = text.to(device)
        method = kind(hyper, text=text)
        sources = np.unique(dataset.index.domain[dataset.split.train])
        if kind.uses_domains and len(sources) == 1:
            raise RecipeError(
                f"method.name: {self.method.name} compares source domains, and this run has "
                f"{dataset.index.domains[sources[0]]} alone; give it images of others or choose "
                "another method"
            )
        student, openset, start = self.build_student(
            method, len(dataset.split.known), teacher, device
        )
        images = self.decode(dataset, teacher)
        unlabelled, warnings = self.open_unlabelled(dataset, method)
        images = replace(images, unlabelled=unlabelled)
        environment: dict[str, Any] = {}
        if workspace.processes.rank == 0:
            rows = (images.train.images.rows, images.val.images.rows)
            image_identity = identify_images(dataset, *rows, images.store.hashes)
            identity = fingerprints(method, teacher, student, image_identity, unlabelled)
            check_fingerprints(workspace.folder, identity, image_identity)
            write_images(workspace.folder, image_identity)
            precision = str(workspace.dtype or torch.float32).removeprefix("torch.")
            environment = write_environment(
                workspace.folder,
                {
                    "device": str(device),
                    "precision": precision,
                    "processes": workspace.processes.size,
                    **torch_environment(),
                    "identity": identity,
                },
            )
        return Prepared(
            dataset, images, teacher, text, method, student, openset, environment, warnings, start
        )

    def open_unlabelled(
        self, dataset: OpenSetSplit, method: Method[Any, Any]
    ) -> tuple[tuple[ImageSet, ...], tuple[str, ...]]:
        """Images of `data.unlabelled` for a method that uses them, and the warnings given.

        Raises DataError for a folder or name that is not there, or has no such image.
        """
        callback = callbacks.current()
        if not self.data.unlabelled or not self.unlabelled_per_step:
            return (), ()
        if not method.uses_unlabelled:
            able = ", ".join(name for name, kind in METHODS.items() if kind.uses_unlabelled)
            line = (
                f"data.unlabelled: left out, {self.method.name} cannot learn from images without "
                f"labels; methods that can: {able}"
            )
            callback.on_warning(line)
            return (), (line,)
        images, lines = open_unlabelled(self.data, dataset, self.store_size)
        for line in lines:
            callback.on_warning(line)
        counts = zip(images, self.data.unlabelled, strict=True)
        callback.on_note(
            f"unlabelled: {', '.join(f'{len(part)} of {entry}' for part, entry in counts)}; "
            f"{self.unlabelled_per_step} join every step"
        )
        return images, lines

    def build_student(
        self,
        method: Method[Any, Any],
        classes: int,
        teacher: Teacher | None,
        device: torch.device,
    ) -> tuple[Student, OpenSetHead, StartStudent | None]:
        """The student with its start weights, its head, and what it is worth without training.

        Raises RecipeError for a score that the method cannot give.
        """
        torch.manual_seed(self.seed)
        student, projection = assemble_with_projection(
            self.student.model,
            method,
            classes,
            weights=self.student.weights,
            size=self.student.size,
            teacher=teacher.fingerprint if teacher else None,
            freeze_bn=self.student.freeze_bn,
        )
        openset = OpenSetHead.with_texts(
            self.score, method.text, mean=student.mean, std=student.std
        )
        start = start_student(student, projection, method.text)
        for trunk, behind in ((student, openset), *((start,) if start else ())):
            use_fast_convolutions(trunk)
            trunk.to(device)
            behind.to(device)
            if self.channels_last:
                trunk.to(memory_format=torch.channels_last)
        # A score the method cannot give is better refused now than after training.
        blank = np.zeros((1, self.student.size, self.student.size, 3), np.uint8)
        labelled = LabelledImages(ImageSet.from_array(blank), np.zeros(1, np.int64))
        predict(student, openset, labelled, device=device)
        return student, openset, start

    def decode(self, dataset: OpenSetSplit, teacher: Teacher | None) -> PreparedImages:
        """Every image that the run reads. Raises DataError for a source domain without any."""
        size = self.student.size
        largest = max(size, teacher.size if teacher else 0)
        if self.store_size < largest:
            callbacks.current().on_warning(
                f"views.store_size {self.store_size} is below the input side {largest}: crops are "
                "enlarged"
            )
        index, split = dataset.index, dataset.split
        store = open_store(index, self.store_size)
        train = dataset.label(store.images(split.train))
        whole = open_store(index, size)
        val = dataset.label(whole.images(split.val))
        target = _test_images(dataset, whole, size)
        source_unknown = self._source_unknown(dataset, whole)
        few = too_few_images(len(val), self.keep)
        for line in [*file_warnings(train, val, target), *([few] if few else [])]:
            callbacks.current().on_warning(line)
        teacher_val = teacher_target = None
        if teacher is not None:
            whole = open_store(index, teacher.size)
            teacher_val = dataset.label(whole.images(split.val))
            if split.test_kind in MEASURED:
                teacher_target = dataset.label(whole.images(dataset.target))
        _refuse_empty_domains(dataset, train)
        return PreparedImages(
            store, train, val, target, teacher_val, teacher_target, source_unknown
        )

    def _source_unknown(self, dataset: OpenSetSplit, store: Store) -> LabelledImages | None:
        if not self.source_unknowns:
            return None
        rows = source_unknown_rows(dataset.index, dataset.split)
        if not len(rows):
            callbacks.current().on_warning(
                "openset.source_unknowns: the source domains have no image of an unknown class "
                "beside those tested on; nothing is measured"
            )
            return None
        return dataset.label(store.images(rows))


def _test_images(dataset: OpenSetSplit, store: Store, size: int) -> LabelledImages:
    if dataset.unlabelled is None:
        return dataset.label(store.images(dataset.target))
    count = len(dataset.unlabelled)
    images = open_store(dataset.unlabelled, size).images(np.arange(count))
    return LabelledImages(images, np.full(len(images), -1, np.int64))


def find_teacher(section: TeacherSection, device: torch.device, required: bool) -> Teacher | None:
    """The teacher, None where none is named.

    Where it is not required and cannot be had, None and a warning.
    """
    if section.model is None:
        return None
    try:
        teacher = load_teacher(section.model, section.pretrained, device, section.size)
    except WeightsError as error:
        if required:
            raise
        callbacks.current().on_warning(f"no teacher to compare with: {error}")
        return None
    if required:
        teacher.require_texts()
    elif not teacher.encodes_texts:
        callbacks.current().on_warning(
            f"no teacher to compare with: {teacher.name} embeds images alone"
        )
        return None
    return teacher


def class_texts(
    prompts: PromptsSection,
    dataset: OpenSetSplit,
    teacher: Teacher,
    required: bool = True,
    sentences: Sequence[str] = (),
) -> TextBank:
    """Texts of the dataset's known classes, encoded by the teacher, on the CPU.

    `sentences` as in `build_text_bank`.

    Raises RecipeError where two classes have the same texts; a warning unless they are required.
    """
    callback = callbacks.current()
    try:
        for line in check_class_texts(prompts, dataset.split.known, dataset.index.names, teacher):
            callback.on_warning(line)
    except RecipeError as error:
        if required:
            raise
        callback.on_warning(str(error))
    return encode_class_texts(prompts, dataset.split.known, dataset.index.names, teacher, sentences)


def fingerprints(
    method: Method[Any, Any],
    teacher: Teacher | None,
    student: Student,
    images: ImageIdentity,
    unlabelled: Sequence[ImageSet] = (),
) -> dict[str, str | None]:
    """Hashes of the inputs that a checkpoint only fits together with, see `check_fingerprints`."""
    weights = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(student.state_dict().items()):
        weights.update(name.encode())
        weights.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        )
    return {
        "teacher": teacher.fingerprint if teacher and method.needs_teacher else None,
        "start_weights": weights.hexdigest(),
        "images": images.digest,
        "unlabelled": hash_images(unlabelled) if unlabelled else None,
    }


def _announce(name: str, dataset: OpenSetSplit) -> None:
    split = dataset.split
    callbacks.current().on_note(
        f"{name}: {len(split.train)} training and {len(split.val)} validation images from "
        f"{', '.join(split.sources)}; {_test_phrase(dataset)}"
    )


def _test_phrase(dataset: OpenSetSplit) -> str:
    split = dataset.split
    if split.test_kind == "none":
        return "no image is left out for a test"
    if dataset.unlabelled is not None:
        return f"target {split.target}: {len(dataset.unlabelled)} images without labels"
    counts = f"{len(split.target_known)} known, {len(split.target_unknown)} unknown images"
    if split.test_kind == "held-out":
        return f"held out for the test: {counts}"
    return f"target {split.target}: {counts}"


def data_warnings(dataset: OpenSetSplit) -> list[str]:
    """What a dataset left out, and names in it that may mean the same, a line each."""
    index = dataset.index
    lines = list(dataset.notes)
    for listing in (index, dataset.unlabelled):
        if listing is not None and listing.omitted:
            lines.append(f"data: {listing.root}: left out {'; '.join(listing.omitted)}")
    similar = similar_names(index)
    if similar:
        lines.append(f"data: {'; '.join(similar)}")
    return lines


def _refuse_empty_domains(dataset: OpenSetSplit, train: LabelledImages) -> None:
    index = dataset.index
    for name in dataset.split.sources:
        if index.domains.index(name) not in index.domain[train.images.rows]:
            raise DataError(f"data: no readable training image in domain {name!r}")


def file_warnings(*parts: LabelledImages) -> list[str]:
    """The image files that were dropped or needed a note, in one line; none where all are sound."""
    problems = sorted({line for part in parts for line in part.images.problems})
    if not problems:
        return []
    more = f" (and {len(problems) - 1} more, see data info)" if len(problems) > 1 else ""
    return [f"{len(problems)} image files need attention: {problems[0]}{more}"]
