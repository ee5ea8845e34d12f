"""The decisions of a first recipe: steps, sizes, start weights and method, each with its reason."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.home import expand_home
from edgedistill.data.layouts import layout_kind
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.errors import WeightsError
from edgedistill.recipe.scaffold import COLUMN, Entry, comment, recipe_text, toml_value
from edgedistill.recipe.schema import LARGEST_SIDE
from edgedistill.registries import DATASETS
from edgedistill.students import architecture
from edgedistill.students.weights import PUBLISHED, embedded_students
from edgedistill.teacher.check import TeacherCheck
from edgedistill.teacher.open_clip import EMBEDDED

# Passes over the training images, and the bounds of the steps that they come to.
PASSES, LEAST_STEPS, MOST_STEPS = 30, 300, 20_000
# Images of a step, of all domains together, and at least from each.
BATCH, LEAST_BATCH = 64, 8
# Images of the most frequent class over those of the rarest, from which on classes are balanced.
IMBALANCE = 5
_LOCAL_DIR = "local-dir:"


@dataclass(frozen=True)
class WeightsChoice:
    """Start weights of a student.

    Attributes:
        name: `student.weights`.
        why: where they come from.
        reason: why not ImageNet's; None where nobody wanted those, or they are there.
    """

    name: str
    why: str
    reason: str | None = None


@dataclass(frozen=True)
class Decisions:
    """What a first recipe is written from.

    Attributes:
        folder: where the recipe will lie, from which its relative paths start.
        data, target, student: as `init` was given them.
        dataset: images and split.
        unknown: classes that are unknown though the data do not say so, and why.
        start: start weights.
        size, store_size: sides in pixels of the input and of the stored images.
        teacher: MODEL or MODEL/PRETRAINED, None for none.
        check: the teacher on the sources; None without a teacher or a validation image.
    """

    folder: Path
    data: str
    target: str | None
    student: str
    dataset: OpenSetSplit
    unknown: Mapping[str, str]
    start: WeightsChoice
    size: int
    store_size: int
    teacher: str | None
    check: TeacherCheck | None

    @property
    def distils(self) -> bool:
        """Whether the teacher is worth learning from."""
        return self.check is not None and self.check.verdict == "trusted"

    @property
    def why_unknown(self) -> str:
        """Why classes are unknown that the data do not call so; "" where there are none."""
        return " or ".join(dict.fromkeys(self.unknown.values()))

    @property
    def images_per_class(self) -> NDArray[np.int64]:
        """Training images of each known class, in label order."""
        index, split = self.dataset.index, self.dataset.split
        labels = split.known_label[index.label[split.train]]
        return np.bincount(labels, minlength=len(split.known))

    def text(self) -> str:
        """The recipe, at most 25 lines."""
        return recipe_text(f"{headline(self)}; written by `edgedistill init`", self._sections())

    def _sections(self) -> Mapping[str, Sequence[Entry]]:
        steps, batch = length(self.dataset)
        sources = len(self.dataset.split.sources)
        return {
            "data": _data(self),
            "teacher": _teacher(self),
            "views": [Entry("store_size", self.store_size, "side of the stored images, for crops")],
            "student": [
                Entry("model", self.student, "or resnet18, efficientnet_b0, timm/NAME, ..."),
                Entry("weights", _weights(self.start.name, self.folder), self.start.why),
                Entry("size", self.size, _why_size(self.start.name)),
            ],
            "method": [_method(self)],
            "train": [
                Entry("steps", steps, _why_steps(steps, len(self.dataset.split.train))),
                Entry("batch_per_domain", batch, f"{batch * sources} images a step"),
                _rate(self),
                *_balance(self.images_per_class),
            ],
            "openset": [
                Entry("keep", 0.95, "share of known images to answer, set on source validation")
            ],
        }


def start_weights(student: str, weights: str | None) -> WeightsChoice:
    """Start weights of a student: those asked for, ImageNet's where they can be had, or others.

    Raises RecipeError for a student that there is not.
    """
    network = architecture(student)
    if weights is not None:
        return WeightsChoice(weights, "as asked for")
    try:
        network.published_weights("imagenet")
    except WeightsError as error:
        reason = str(error)
    else:
        return WeightsChoice("imagenet", "learnt from photographs, as published")
    if student in embedded_students():
        why = 'learnt from drawings; "imagenet" for photographs'
        return WeightsChoice("embedded", why, reason)
    return WeightsChoice("none", "random values", reason)


def store_side(side: int) -> int:
    """A quarter above the larger input side, up to the next multiple of 16."""
    return min(math.ceil(side * 1.25 / 16) * 16, LARGEST_SIDE)


def length(dataset: OpenSetSplit) -> tuple[int, int]:
    """Steps, and images of a step from every source domain.

    `BATCH` images of all sources together, but no more from each than the smallest one has.
    """
    index, split = dataset.index, dataset.split
    counts = np.bincount(index.domain[split.train])
    batch = min(max(BATCH // len(split.sources), LEAST_BATCH), int(counts[counts > 0].min()))
    steps = math.ceil(PASSES * len(split.train) / (batch * len(split.sources)))
    return min(max(steps, LEAST_STEPS), MOST_STEPS), batch


def teacher_names(teacher: str) -> tuple[str, str]:
    """`teacher.model` and `teacher.pretrained` of MODEL or MODEL/PRETRAINED."""
    whole = teacher in EMBEDDED or teacher.startswith(("hf-hub:", "local-dir:"))
    if whole or expand_home(teacher).is_dir():
        return teacher, ""
    model, _, pretrained = teacher.partition("/")
    return model, pretrained


def relative_path(path: str, folder: Path) -> str:
    """A path that starts from the current directory as one that starts from a folder.

    An absolute path, one below the user's home, and what is not there stay as they are.
    """
    prefix = _LOCAL_DIR if path.startswith(_LOCAL_DIR) else ""
    plain = path.removeprefix(prefix)
    if plain.startswith("~") or os.path.isabs(plain) or not os.path.lexists(plain):
        return path
    return prefix + Path(os.path.relpath(plain, folder)).as_posix()


def _marked(path: str, folder: Path) -> str:
    """The same with a slash, without which it could be a name."""
    relative = relative_path(path, folder)
    is_plain = "/" in relative or relative.startswith(_LOCAL_DIR)
    return relative if is_plain else f"./{relative}"


def _weights(weights: str, folder: Path) -> str:
    return weights if weights in (*PUBLISHED, "embedded", "none") else _marked(weights, folder)


def headline(decisions: Decisions) -> str:
    """The images in one line."""
    index = decisions.dataset.index
    domains = "1 domain" if len(index.domains) == 1 else f"{len(index.domains)} domains"
    return f"{decisions.data}: {len(index)} images, {classes(decisions.dataset)}, {domains}"


def classes(dataset: OpenSetSplit) -> str:
    """Numbers of the known and unknown classes."""
    known, unknown = len(dataset.split.known), len(dataset.split.unknown)
    return f"{known} known classes" + (f" and {unknown} unknown" if unknown else "")


def layout(data: str) -> str:
    """How a folder, a file or a dataset's name is read."""
    return "a registered dataset" if data in DATASETS else f"read as {layout_kind(data)}"


def _data(decisions: Decisions) -> list[Entry]:
    sources = decisions.dataset.split.sources
    data = decisions.data
    if data not in DATASETS:
        path = relative_path(data, decisions.folder)
        data = f"./{path}" if path in DATASETS else path
    entries = [Entry("dataset", data, layout(decisions.data))]
    if decisions.target is not None:
        target = decisions.target
        if decisions.dataset.unlabelled is not None:
            target = _marked(target, decisions.folder)
        entries.append(Entry("target", target, "the test, and not trained on"))
    elif len(sources) > 1:
        held_out = f"target = {toml_value(sources[-1])}".ljust(COLUMN - 2)
        entries.append(comment(f"{held_out}# would test on that domain, and not train on it"))
    if decisions.unknown:
        names = decisions.dataset.split.unknown
        entries.append(Entry("unknown", names, f"{decisions.why_unknown}; met in the test alone"))
    return entries


def _teacher(decisions: Decisions) -> list[Entry]:
    teacher, check = decisions.teacher, decisions.check
    if teacher is None:
        return [
            comment('model = "ViT-B-32"            # a CLIP to distil, with method "scipd"'),
            comment('pretrained = "laion2b_s34b_b79k"'),
        ]
    if check is None:
        return [comment(f"{teacher}: there is no validation image to check it on")]
    worth = f"{100 * check.accuracy:.1f} % right by the class names"
    if check.probe_accuracy is not None:
        worth += f", a linear probe {100 * check.probe_accuracy:.1f} %"
    if not decisions.distils:
        return [comment(f"{teacher} is not distilled: {worth}")]
    model, pretrained = teacher_names(teacher)
    if expand_home(model.removeprefix(_LOCAL_DIR)).is_dir() and model not in EMBEDDED:
        model = _marked(model, decisions.folder)
    if "/" in pretrained:
        pretrained = relative_path(pretrained, decisions.folder)
    weights = [Entry("pretrained", pretrained, "its weights")] if pretrained else []
    return [Entry("model", model, worth), *weights]


def _why_size(weights: str) -> str:
    return "input side in pixels" + ("" if weights == "none" else ", that of the weights")


def _method(decisions: Decisions) -> Entry:
    if decisions.distils:
        return Entry("name", "scipd", "distils the teacher; the score follows from it")
    return Entry("name", "erm", "cross-entropy on the labels, no teacher")


def _why_steps(steps: int, images: int) -> str:
    bound = {LEAST_STEPS: ", but 300 at least", MOST_STEPS: ", but 20,000 at most"}.get(steps, "")
    return f"{PASSES} passes over {images} training images{bound}"


def _rate(decisions: Decisions) -> Entry:
    if decisions.start.name == "none":
        return Entry("lr", 0.02, "from random weights")
    if decisions.distils:
        return Entry("lr", 0.001, "of SCI-PD's authors; its head trains at 5 times this")
    return Entry("lr", 0.005, "from trained weights")


def _balance(images_per_class: NDArray[np.int64]) -> list[Entry]:
    least, most = int(images_per_class.min()), int(images_per_class.max())
    if most < IMBALANCE * least:
        return []
    return [Entry("balance", "class", f"the classes have {least} to {most} training images")]
