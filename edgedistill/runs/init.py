"""The function `edgedistill.init`: a first recipe for one's own images, from what they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.atomic import write_text
from edgedistill._utils.home import expand_home
from edgedistill._utils.printable import printable
from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.data.datasets import load_index
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split, target_domain
from edgedistill.data.spelling import similar_names
from edgedistill.data.store.image_store import open_store
from edgedistill.data.survey import (
    Copies,
    find_copies,
    likely_unknown,
    never_trained,
    shorter_sides,
)
from edgedistill.errors import DataError, UsageError
from edgedistill.recipe import resolve
from edgedistill.recipe.schema import DataSection, PromptsSection, TeacherSection
from edgedistill.runs.first_recipe import (
    Decisions,
    classes,
    layout,
    start_weights,
    store_side,
    teacher_names,
)
from edgedistill.runs.stages.check import check_on_sources
from edgedistill.runs.stages.prepare import class_texts
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.check import TeacherCheck, advice, summary
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.train.device import enough_memory, resolve_device

# Names of a list that are shown.
_NAMES = 8


@dataclass(frozen=True)
class Scaffold:
    """A recipe that `init` wrote.

    Attributes:
        path: the file.
        text: its content.
        facts: what the images are and what was decided, each as a heading and a line.
    """

    path: Path
    text: str
    facts: tuple[tuple[str, str], ...]


def init(
    data: str | Path,
    *,
    teacher: str | None = None,
    student: str = "mobilenet_v3_small",
    weights: str | None = None,
    target: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    callbacks: Iterable[Callback] | None = None,
) -> Scaffold:
    """Look at images and write a short recipe for them, which `edgedistill run` trains.

    Every image is decoded once, at the size that the run will read, and a teacher is checked on the
    source domains; the run finds both in the cache.

    Args:
        data: a folder or .csv file in one of the layouts, or the name of a dataset.
        teacher: MODEL or MODEL/PRETRAINED, as "ViT-B-32/laion2b_s34b_b79k", "hf-hub:ORG/NAME" or a
            folder. It is distilled where the check trusts it. None: a method without a teacher.
        student: a student's name.
        weights: its start weights, as `student.weights`; None takes ImageNet's where they can be
            had, else the package's own.
        target: a domain to hold out for the test, or a folder of images without classes.
        out: the recipe to write; NAME.toml in the current folder when None, NAME being the data's.
        force: replace the file if it is there.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises:
        UsageError: the recipe is there already, and `force` is not given.
        DataError: there are no such images, or nothing could be learnt from them.
        RecipeError, WeightsError: no such student or teacher, or no weights of the teacher.
        CacheError, OutputError: the cache or the recipe cannot be written.

    Examples:
        >>> scaffold = ed.init("photos", weights="none", out="photos.toml", force=True)
        >>> len(scaffold.text.splitlines()) <= 25
        True
    """
    path = Path(f"{_name(data)}.toml") if out is None else Path(out)
    if path.exists() and not force:
        raise UsageError(
            f"{path}: is there already; --force replaces it, --out writes another file"
        )
    for name in (str(data), target or "", str(path)):
        if any("\ud800" <= character <= "\udfff" for character in name):
            # A recipe is UTF-8.
            raise UsageError(f"{printable(name, 'utf-8')}: is not UTF-8; rename it")
    given = [LoggingCallback()] if callbacks is None else callbacks
    with enough_memory(), reporting(given):
        decisions, facts = _look(path.parent, str(data), teacher, student, weights, target)
        text = decisions.text()
        write_text(path, text)
    return Scaffold(path, text, tuple(facts))


def _look(
    folder: Path,
    data: str,
    teacher: str | None,
    student: str,
    weights: str | None,
    target: str | None,
) -> tuple[Decisions, list[tuple[str, str]]]:
    """What a recipe is written from, and the lines on it."""
    # A wrong name of a student is better refused before the images are read.
    start = start_weights(student, weights)
    tree: dict[str, Any] = {
        "data": {"dataset": data} | ({} if target is None else {"target": target}),
        "student": {"model": student, "weights": start.name},
        "method": {"name": "erm"},
    }
    plain = resolve(tree, "init")
    dataset, unknown = _dataset(plain.data)
    size = plain.student.size
    model, check = (None, None) if teacher is None else _checked(teacher, dataset)
    store_size = store_side(max(size, model.size if model else 0))
    decisions = Decisions(
        folder=folder,
        data=data,
        target=target,
        student=student,
        dataset=dataset,
        unknown=unknown,
        start=start,
        size=size,
        store_size=store_size,
        teacher=teacher,
        check=check,
    )
    store = open_store(dataset.index, store_size)
    copies = find_copies(dataset.index, store, dataset.split)
    return decisions, _facts(decisions, copies, store.problems())


def _name(data: str | Path) -> str:
    path = expand_home(data).resolve()
    return path.stem if path.suffix.lower() == ".csv" else path.name or "recipe"


def _dataset(data: DataSection) -> tuple[OpenSetSplit, dict[str, str]]:
    """Images and split, with the classes that are unknown though the data do not say so, and why.

    Raises DataError where fewer than two classes are known.
    """
    index = load_index(data)
    listed = index.unknown
    unknown = {
        name: "without training images"
        for name in never_trained(index, target_domain(data, index))
        if name not in listed
    }
    if not listed:
        unknown |= dict.fromkeys(likely_unknown(index.classes), "by name")
    if unknown:
        data = data.model_copy(update={"unknown": [*listed, *unknown]})
    dataset = resolve_split(data, index)
    known = dataset.split.known
    if len(known) < 2:
        raise DataError(
            f"init: {dataset.index.root} has the one known class {known[0]!r}, so there is nothing "
            "to tell apart; add images of another class"
        )
    return dataset, unknown


def _checked(teacher: str, dataset: OpenSetSplit) -> tuple[Teacher, TeacherCheck | None]:
    """The teacher, and what it is worth on the sources. Raises WeightsError or RecipeError."""
    model, pretrained = teacher_names(teacher)
    loaded = load_teacher(model, pretrained, resolve_device("auto"))
    text = class_texts(PromptsSection(), dataset, loaded, required=False).to(loaded.device)
    return loaded, check_on_sources(dataset, loaded, text, batch=TeacherSection().batch)


def _facts(
    decisions: Decisions, copies: Copies, problems: tuple[str, ...]
) -> list[tuple[str, str]]:
    """What the images are and what was decided, each as a heading and a line."""
    dataset, start = decisions.dataset, decisions.start
    index, split, per_class = dataset.index, dataset.split, decisions.images_per_class
    counts = np.bincount(index.domain, minlength=len(index.domains)).tolist()
    domains = _listed([f"{n} {c}" for n, c in zip(index.domains, counts, strict=True)])
    facts = [
        ("images", f"{len(index)}, {layout(decisions.data)}: {domains}"),
        (
            "classes",
            f"{classes(dataset)}: {_listed(split.known)}; {_spread(split.known, per_class)}",
        ),
        ("split", f"{len(split.train)} training, {len(split.val)} validation, {_tested(dataset)}"),
    ]
    if split.unknown:
        why = decisions.why_unknown or "as the data say"
        facts.append(("unknown", f"{_listed(split.unknown)}, {why}; not trained on"))
    sides = shorter_sides(index)
    if len(sides):
        least, middle, most = (int(side) for side in np.quantile(sides, [0, 0.5, 1]))
        facts.append(("sizes", f"shorter sides of {least} to {most} px, median {middle}"))
    facts += [("copies", line) for line in _copies(copies)]
    facts += [("spelling", line) for line in similar_names(index)]
    facts += [("left out", line) for line in index.omitted]
    if problems:
        more = f" (and {len(problems) - 1} more, see data info)" if len(problems) > 1 else ""
        facts.append(("files", f"{len(problems)} need attention: {problems[0]}{more}"))
    facts.append(("student", f"{decisions.student} from {start.name} weights, {start.why}"))
    if start.reason is not None:
        facts.append(("", f"ImageNet's: {start.reason}"))
    if decisions.check is not None:
        warning = advice(decisions.check)
        facts.append(("teacher", summary(decisions.check).removeprefix("teacher ")))
        facts += [] if warning is None else [("", warning)]
    facts.append(("method", "scipd" if decisions.distils else "erm, without a teacher"))
    return facts


def _spread(known: Sequence[str], images: NDArray[np.int64]) -> str:
    """How many training images the classes have."""
    least, most = int(images.min()), int(images.max())
    if least == most:
        return f"{least} training images each"
    rarest, commonest = known[int(images.argmin())], known[int(images.argmax())]
    return f"from {least} training images ({rarest}) to {most} ({commonest})"


def _tested(dataset: OpenSetSplit) -> str:
    split = dataset.split
    if dataset.unlabelled is not None:
        return f"{len(dataset.unlabelled)} images without classes in {split.target}"
    where = f"of {split.target}" if split.target else "held out"
    return f"{len(dataset.target)} test images {where}"


def _listed(names: Sequence[str]) -> str:
    more = f", ... {len(names)} in all" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _copies(copies: Copies) -> list[str]:
    """Lines on images that are there twice."""
    if copies.example is None:
        return []
    lines = [
        f"{copies.repeated} images are copies of others, such as {' and '.join(copies.example)}"
    ]
    if copies.across:
        lines.append(
            f"{copies.across} validation or test images are copies of training images: their "
            "figures will be too good; remove one of each"
        )
    if copies.conflicting:
        lines.append(f"{copies.conflicting} images are copies of images of another class")
    return lines
