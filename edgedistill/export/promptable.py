"""Other classes for a finished run: names and prompts in, a run with these classes out.

A student whose method projects into the teacher's space compares images with any texts. The texts
are encoded here, by the run's teacher; no training, and no teacher in the exported file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import beta

from edgedistill import callbacks
from edgedistill._utils.home import expand_home
from edgedistill._utils.suggestions import choices
from edgedistill.data.images import LabelledImages
from edgedistill.data.index import Index
from edgedistill.errors import DataError, ExportError, RunFolderError, WeightsError
from edgedistill.export.finished import Calibration, FinishedRun, Prompted
from edgedistill.export.images import ExportImages, input_side
from edgedistill.export.measure import measure_answers
from edgedistill.export.onnx.graph import stored_threshold
from edgedistill.export.session import ModelOutputs, concatenate
from edgedistill.export.verify import torch_answers
from edgedistill.methods.heads import PromptedHead
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import calibrate, images_needed
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.classes import ClassPrompts, load_classes
from edgedistill.registries import METHODS, SCORES
from edgedistill.runtime.find import find_images
from edgedistill.students import Student
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import check_class_texts, encode_class_texts
from edgedistill.teacher.vocabulary import with_vocabulary

# Points of accuracy that answering by text may be below the trained classifier without a warning.
_TEXT_DROP = 0.1


def with_classes(
    run: FinishedRun,
    classes: str | Path | Mapping[str, str | Sequence[str]] | ClassPrompts,
    images: str | Path | None = None,
    size: int | None = None,
) -> FinishedRun:
    """The run with other classes than those it was trained on.

    Its student's logits are cosines of its projection with the texts of the new classes, its score
    the run's where that is of such cosines, else `max_cosine`. The threshold is calibrated on
    `images`; without any it is the run's own, `Calibration.carried_over`, where its score is of
    cosines, else that which keeps as many of source validation by the texts of its own classes.

    Args:
        run: of a method that projects into the teacher's space.
        classes: a TOML file, or class -> name or names.
        images: folder of labelled images; the class of an image is the folder it lies in, and a
            folder of another name than the classes' holds images of unknown classes.
        size: input side in pixels, the run's when None.

    Raises:
        ExportError: the run's method does not project.
        UsageError: a size that the student cannot take.
        RecipeError: no such classes, or two whose texts are the same to the teacher.
        WeightsError: the teacher is not there, or is another than the run's.
        DataError: none of the images is of the classes.
    """
    side = input_side(run, size)
    _refuse_unprojected(run)
    wanted = load_classes(classes)
    index = None if images is None else _folder_index(Path(images), list(wanted.classes))
    teacher = _teacher_of(run)
    prompts = wanted.prompts(run.recipe.prompts)
    names = tuple(prompts.names)
    for line in check_class_texts(prompts, names, {}, teacher, "[classes]"):
        callbacks.current().on_warning(line)
    text = encode_class_texts(prompts, names, {}, teacher)
    if SCORES[run.calibration.score].needs_vocabulary:
        text = with_vocabulary(text, prompts, names, {}, teacher)
    prompted = replace(
        _with_texts(run, text),
        classes=names,
        prompted=Prompted(run, prompts, teacher.name, index),
    )
    if index is None:
        return _carried_over(prompted, run, teacher, side)
    return _calibrated(prompted, side)


def _refuse_unprojected(run: FinishedRun) -> None:
    side = run.recipe.student.size
    with torch.no_grad():
        projects = run.student(torch.zeros(1, 3, side, side)).projected is not None
    if not projects:
        able = ", ".join(name for name, method in METHODS.items() if method.projects)
        raise ExportError(
            f"{run.path}: a student of {run.recipe.method.name} has no projection into the "
            f"teacher's space, so it cannot be given other classes; methods that have one: {able}"
        )


def _teacher_of(run: FinishedRun) -> Teacher:
    """The teacher of a run, with the weights that its student was distilled from."""
    path, section = run.path / "environment.json", run.recipe.teacher
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))["identity"]["teacher"]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunFolderError(
            f"{path}: does not say which teacher the run had; run its recipe again under another "
            "--name"
        ) from None
    if section.model is None or expected is None:
        raise ExportError(
            f"{run.path}: the run had no teacher whose space its student could be in; train with "
            "one to give it other classes"
        )
    teacher = load_teacher(section.model, section.pretrained, torch.device("cpu"), section.size)
    if teacher.fingerprint != expected:
        raise WeightsError(
            f"teacher.model: {teacher.name}: its weights ({teacher.fingerprint}) are not those "
            f"that {run.path} was distilled from ({expected}); put these back"
        )
    return teacher


def _with_texts(run: FinishedRun, text: TextBank) -> FinishedRun:
    """The run with a student and an open-set head of other texts; the rest is left as it is."""
    score = run.calibration.score if SCORES[run.calibration.score].needs_texts else "max_cosine"
    trained = run.student
    student = Student(
        trained.backbone, PromptedHead(trained.head, text), mean=trained.mean, std=trained.std
    )
    head = OpenSetHead.with_texts(score, text, mean=trained.mean, std=trained.std)
    return replace(run, student=student.eval().requires_grad_(False), openset=head)


def _carried_over(
    prompted: FinishedRun, run: FinishedRun, teacher: Teacher, size: int
) -> FinishedRun:
    """The run with the threshold of its own classes, and a look at how well it answers by text."""
    assert run.method.text is not None
    # The stored bank has no scale, see `load_finished`.
    own_texts = _with_texts(run, replace(run.method.text, logit_scale=teacher.logit_scale))
    images = ExportImages(run, size).validation()
    answers = torch_answers(own_texts, images.images, 0.0)
    threshold = run.calibration.threshold
    if run.calibration.score != prompted.openset.score_name or size != run.recipe.student.size:
        threshold = calibrate(answers.score, run.calibration.target_keep_rate)
    _warn_of_projection(run, answers, images)
    callbacks.current().on_warning(
        "the threshold is that of the run's own classes, not calibrated for these; give labelled "
        "images of them with --calibrate FOLDER"
    )
    calibration = Calibration(
        score=prompted.openset.score_name,
        threshold=threshold,
        target_keep_rate=run.calibration.target_keep_rate,
        images=len(images),
        rule="carried over from the classes of the training (source validation, split-conformal "
        "quantile), not calibrated for these classes",
        carried_over=True,
    )
    return _finish(prompted, calibration, None)


def _warn_of_projection(run: FinishedRun, answers: ModelOutputs, images: LabelledImages) -> None:
    """Warn where the projection has left the teacher's space, as the run's own classes show."""
    by_text = float((answers.probabilities.argmax(axis=1) == images.labels).mean())
    trained = float(run.metrics["source_val"]["accuracy"])
    if by_text < trained - _TEXT_DROP:
        callbacks.current().on_warning(
            f"by the texts of its own classes the student is right on {100 * by_text:.1f} % of "
            f"source validation, by its classifier on {100 * trained:.1f} %: its projection is "
            "not close to the teacher's space; start from weights that bring one, or give the run "
            "more teacher views and steps"
        )


def _calibrated(prompted: FinishedRun, size: int) -> FinishedRun:
    """The run with a threshold and metrics of the images given."""
    images = ExportImages(prompted, size)
    known, unknown = images.validation(), images.source_unknown()
    rate = prompted.calibration.target_keep_rate
    answers = torch_answers(prompted, known.images, 0.0)
    limit = calibrate(answers.score, rate)
    _warn_of_few(len(known), rate, limit)
    calibration = Calibration(
        score=prompted.openset.score_name,
        threshold=limit,
        target_keep_rate=rate,
        images=len(known),
        rule="labelled images given at export, split-conformal quantile",
    )
    threshold = stored_threshold(limit)
    labels = known.labels
    if len(unknown):
        answers = concatenate([answers, torch_answers(prompted, unknown.images, 0.0)])
        labels = np.concatenate([labels, unknown.labels])
    return _finish(prompted, calibration, measure_answers(answers, labels, threshold))


def _finish(
    prompted: FinishedRun, calibration: Calibration, measured: dict[str, Any] | None
) -> FinishedRun:
    """The run with its threshold; "calibration" of its metrics is None where nothing is known."""
    prompted.openset.threshold.fill_(calibration.threshold)
    metrics = {"source_val": None, "target": None, "calibration": measured}
    return replace(prompted, calibration=calibration, metrics=metrics)


def _warn_of_few(images: int, rate: float, threshold: float) -> None:
    """Say what so few images can promise; the share kept of new ones is Beta distributed."""
    on_warning = callbacks.current().on_warning
    needed = images_needed(rate)
    if needed is None:
        return
    if threshold == -np.inf:
        on_warning(
            f"{images} images of the classes are too few to reject any and keep "
            f"{100 * rate:g} %: nothing is rejected; give {needed} or more with --calibrate"
        )
        return
    rejected = max(1, int(np.floor((1 - rate) * (images + 1) + 1e-9)))
    low, high = beta.ppf([0.05, 0.95], images + 1 - rejected, rejected)
    if high - low > 0.1:
        on_warning(
            f"calibrated on {images} images: of new ones like them {100 * low:.0f} to "
            f"{100 * high:.0f} % will be kept (90 % interval), {100 * rate:g} % asked for; more "
            "images narrow that"
        )


def _folder_index(folder: Path, classes: Sequence[str]) -> Index:
    """The images of a folder at any depth; each has the name of the folder it lies in as class."""
    root = expand_home(folder).resolve()
    if not root.is_dir():
        raise DataError(f"{folder}: no such folder; give one with images in class/ or domain/class")
    paths = [Path(name).relative_to(root) for name in find_images([root])]
    loose = sum(path.parent == Path() for path in paths)
    if loose:
        raise DataError(
            f"{folder}: {loose} images lie in no folder with the name of a class; put them into one"
        )
    folders = tuple(sorted({path.parent.name for path in paths}))
    counts = Counter(path.parent.name for path in paths)
    if not counts.keys() & set(classes):
        raise DataError(
            f"{folder}: none of its folders ({', '.join(folders[:8])}) is called as a class; "
            f"{choices(folders[0], classes)}"
        )
    absent = [name for name in classes if name not in counts]
    if absent:
        more = f" (and {len(absent) - 1} more)" if len(absent) > 1 else ""
        callbacks.current().on_warning(
            f"{folder}: no images of class {absent[0]!r}{more}: the threshold is calibrated "
            f"without it; its folders: {', '.join(folders[:8])}{', ...' if folders[8:] else ''}"
        )
    others = [name for name in folders if name not in classes]
    if others:
        callbacks.current().on_note(
            f"{folder}: {sum(counts[name] for name in others)} images of {len(others)} other "
            f"folders ({', '.join(others[:5])}{', ...' if len(others) > 5 else ''}) count as "
            "unknown classes"
        )
    label = {name: number for number, name in enumerate(folders)}
    return Index(
        root=root,
        domains=(root.name or "images",),
        classes=folders,
        paths=tuple(path.as_posix() for path in paths),
        domain=np.zeros(len(paths), np.int64),
        label=np.array([label[path.parent.name] for path in paths], np.int64),
        names={},
        unknown=(),
        test_fraction=0.0,
        problems=(),
    )
