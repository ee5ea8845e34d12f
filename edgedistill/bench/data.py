"""The labelled images of `--data`: a recipe's target test images, or a folder `class/*`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedistill._utils.omissions import Omissions
from edgedistill._utils.suggestions import choices
from edgedistill._utils.tested_on import tested_on
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.protocols.split import MEASURED
from edgedistill.data.readers.listing import class_images, images_in, subfolders
from edgedistill.errors import DataError
from edgedistill.recipe.load import load_data


@dataclass(frozen=True)
class LabelledFiles:
    """Labelled image files.

    Attributes:
        source: the recipe or folder, as the user gave it.
        target: name of the target domain, None for a folder.
        files: N files.
        classes: class name of each image that is of a known class, None for unknown ones.
        unknown: names of the classes that count as unknown.
        notes: remarks for the user, a line each.
    """

    source: str
    target: str | None
    files: tuple[Path, ...]
    classes: tuple[str | None, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)


def find_images(source: str | Path, known: Sequence[str]) -> LabelledFiles:
    """The images of a recipe's target test, or of a folder.

    A recipe gives exactly the images its run is evaluated on. In a folder, subfolders that have
    the name of a known class hold images of it, and every other one holds unknown images.

    Args:
        source: a recipe (`*.toml`) or a folder.
        known: the models' classes.

    Raises:
        DataError: no such recipe or folder, no images in it, or other classes than `known`.
        RecipeError: the recipe is not valid.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _of_folder(path, str(source), known)
    if path.suffix == ".toml":
        return _of_recipe(path, str(source), known)
    what = "is neither a recipe (.toml) nor a folder" if path.exists() else "does not exist"
    raise DataError(f"--data: {source} {what}; give a recipe or a folder class/*.jpg")


def same_classes(models: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """The classes that all models share, in the first one's order.

    Args:
        models: name and classes of each.

    Raises:
        DataError: two models know different classes.
    """
    first, classes = models[0]
    for name, others in models[1:]:
        if set(others) != set(classes):
            extra = sorted(set(others) ^ set(classes))
            raise DataError(
                f"--data: {name} and {first} know different classes ({extra[0]!r} is only in one "
                "of them); their answers to the same images cannot be compared, so bench them "
                "apart"
            )
    return tuple(classes)


def _of_recipe(path: Path, source: str, known: Sequence[str]) -> LabelledFiles:
    dataset = resolve_split(load_data(path))
    split, index = dataset.split, dataset.index
    if set(split.known) != set(known):
        extra = sorted(set(split.known) ^ set(known))
        raise DataError(
            f"--data: {source} has other known classes than the models ({extra[0]!r} is only in "
            "one of them); give the recipe they were trained with"
        )
    if split.test_kind not in MEASURED:
        raise DataError(
            f"--data: {source} tests on no labelled image (data.target, data.test_fraction); give "
            "a folder class/*.jpg"
        )
    notes = list(dataset.notes)
    if split.test_kind == "held-out":
        words = tested_on({"test_kind": split.test_kind, "sources": split.sources})
        notes.append(f"{source}: {words}, so nothing is said about an unseen one")
    return LabelledFiles(
        source=source,
        target=split.target,
        files=tuple(index.path(row) for row in dataset.target.tolist()),
        classes=tuple(split.known[n] if n >= 0 else None for n in dataset.target_labels.tolist()),
        unknown=split.unknown,
        notes=tuple(notes),
    )


def _of_folder(path: Path, source: str, known: Sequence[str]) -> LabelledFiles:
    omissions = Omissions()
    files_by_class = {name: class_images(path, name, omissions) for name in subfolders(path)}
    files_by_class = {name: files for name, files in files_by_class.items() if files}
    if not files_by_class:
        raise DataError(f"--data: {_no_images(path, source)}")
    if not set(files_by_class) & set(known):
        names = ", ".join(list(files_by_class)[:5])
        raise DataError(
            f"--data: no folder in {source} has the name of a class of the models (it has "
            f"{names}); {choices(next(iter(files_by_class)), known)}"
        )
    unknown = tuple(name for name in files_by_class if name not in known)
    omitted = "; ".join(omissions.lines())
    lower = {name.lower(): name for name in known}
    return LabelledFiles(
        source=source,
        target=None,
        files=tuple(path / name / file for name, files in files_by_class.items() for file in files),
        classes=tuple(
            name if name in known else None for name, files in files_by_class.items() for _ in files
        ),
        unknown=unknown,
        notes=(
            *(
                f"{source}: the folder {name!r} counts as unknown; the models' class is called "
                f"{lower[name.lower()]!r}"
                for name in unknown
                if name.lower() in lower
            ),
            *([f"{source}: left out {omitted}"] if omitted else []),
        ),
    )


def _no_images(path: Path, source: str) -> str:
    if (path / "recipe.toml").is_file():
        return f"{source} is the folder of a run; did you mean {Path(source) / 'recipe.toml'}?"
    for name in subfolders(path):
        for inner in subfolders(path / name):
            if images_in(path / name / inner):
                return (
                    f"images lie one level too deep in {source}; the layout is class/*.jpg, so "
                    f"give one domain, such as {Path(source) / name}"
                )
    return f"{source} has no images in class/*.jpg; put each class's images in a folder of its name"


def known_positions(classes: Sequence[str | None], known: Sequence[str]) -> np.ndarray:
    """int64 [N]: position in `known` of each image's class, -1 for None."""
    position = {name: number for number, name in enumerate(known)}
    return np.array([-1 if name is None else position[name] for name in classes], np.int64)
