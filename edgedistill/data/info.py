"""Contents of a dataset, counted: domains, classes, split and unreadable files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from edgedistill._utils.suggestions import choices
from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.data.contact_sheet import contact_sheet
from edgedistill.data.datasets import DATASETS, load_index
from edgedistill.data.index import Index
from edgedistill.data.layouts import LayoutKind, layout_kind
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.protocols.split import Split, TestKind
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.published.check import Check, check_benchmark
from edgedistill.data.spelling import similar_names
from edgedistill.data.store.image_store import open_store
from edgedistill.data.unlabelled import open_unlabelled
from edgedistill.errors import DataError
from edgedistill.recipe.load import data_of, load_data

_CHECK_SIZE = 64


@dataclass(frozen=True)
class ClassRow:
    """Counts of one class.

    Attributes:
        name: the class.
        role: "known", "unknown", or "left out" when a split uses it for neither.
        images: images per domain, in the order of the index.
        train, val, test: images of the class in each part of the split; all 0 without a split. An
            unlabelled target is in none of them.
    """

    name: str
    role: str
    images: tuple[int, ...]
    train: int
    val: int
    test: int


def dataset_table(index: Index, split: Split | None = None) -> list[ClassRow]:
    """One row per class, known classes first, each part in the order of the index or the split."""
    known = split.known if split else tuple(c for c in index.classes if c not in index.unknown)
    unknown = split.unknown if split else index.unknown
    left_out = tuple(c for c in index.classes if c not in known and c not in unknown)
    images = np.zeros((len(index.classes), len(index.domains)), dtype=np.int64)
    np.add.at(images, (index.label, index.domain), 1)
    parts = np.zeros((3, len(index.classes)), dtype=np.int64)
    if split:
        test = np.concatenate([split.target_known, split.target_unknown])
        for part, rows in zip(parts, (split.train, split.val, test), strict=True):
            part += np.bincount(index.label[rows], minlength=len(index.classes))
    return [
        ClassRow(
            name,
            role,
            tuple(images[index.class_id(name)].tolist()),
            *(int(part[index.class_id(name)]) for part in parts),
        )
        for role, names in (("known", known), ("unknown", unknown), ("left out", left_out))
        for name in names
    ]


@dataclass(frozen=True)
class DatasetInfo:
    """Counts of a dataset's classes and images.

    Attributes:
        index: its images.
        target: the domain that is held out, or the folder of unlabelled images; None without one.
        classes: one row per class.
        problems: a line for every file that cannot be read as it is.
        similar: a line for names that differ in spelling only, see `similar_names`.
        test_kind: what a run would be tested on; None where no split was asked for.
        unlabelled: number of images of an unlabelled target; 0 without one.
        notes: warnings about the split, a line each.
        layout: how the images lie on the disk; None for a dataset by name.
        training_unlabelled: images of each entry of `data.unlabelled` that a run may learn from.
    """

    index: Index
    target: str | None
    classes: tuple[ClassRow, ...]
    problems: tuple[str, ...]
    similar: tuple[str, ...]
    test_kind: TestKind | None = None
    unlabelled: int = 0
    notes: tuple[str, ...] = ()
    layout: LayoutKind | None = None
    training_unlabelled: Mapping[str, int] = field(default_factory=dict)

    def contact_sheet(self) -> Image.Image:
        """Some images of every class and domain, as one picture."""
        return contact_sheet(self.index)


@dataclass(frozen=True)
class BenchmarkInfo:
    """A copy of a published benchmark against its paper.

    Attributes:
        check: counts, image lists and differences.
        problems: a line for every file that cannot be read as it is.
    """

    check: Check
    problems: tuple[str, ...]

    def contact_sheet(self) -> Image.Image:
        """Some images of every class and domain, as one picture."""
        return contact_sheet(self.check.index)


def dataset_info(
    source: str | Path = "emoji",
    *,
    target: str | None = None,
    overrides: Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> DatasetInfo:
    """Count the images of a dataset, and decode every file once to see that it can be read.

    Args:
        source: an embedded dataset's name, a folder or CSV file in one of the layouts, or a recipe
            (.toml). The split is counted of a recipe, where `target` or `overrides` are given, and
            where the images have a given split.
        target: `data.target` of the split.
        overrides: fields of [data] to change, of a recipe any, ["data.unknown=[other]"].
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises RecipeError or DataError for what is not there.
    """
    with reporting([LoggingCallback()] if callbacks is None else callbacks):
        sets = [
            *overrides,
            *([] if target is None else [f"data.target={json.dumps(target, ensure_ascii=False)}"]),
        ]
        is_recipe = Path(source).suffix == ".toml"
        data = load_data(Path(source), sets) if is_recipe else data_of(str(source), sets)
        index = load_index(data)
        layout = None
        if data.dataset not in DATASETS:
            layout = layout_kind(data.dataset) if data.layout == "auto" else data.layout
        if not (is_recipe or sets or index.split.any()):
            rows = tuple(dataset_table(index))
            problems = (*index.problems, *_unreadable(index))
            return DatasetInfo(index, None, rows, problems, similar_names(index), layout=layout)
        dataset = resolve_split(data, index)
        split, unlabelled = dataset.split, dataset.unlabelled
        images, lines = open_unlabelled(data, dataset, _CHECK_SIZE)
        counts = {entry: len(part) for entry, part in zip(data.unlabelled, images, strict=True)}
        return DatasetInfo(
            index,
            split.target,
            tuple(dataset_table(index, split)),
            (*index.problems, *_unreadable(index), *_unreadable(unlabelled)),
            similar_names(index),
            split.test_kind,
            0 if unlabelled is None else len(unlabelled),
            (*dataset.notes, *lines),
            layout,
            counts,
        )


def benchmark_info(
    name: str,
    root: str | Path,
    *,
    lists: str | Path | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> BenchmarkInfo:
    """Compare a copy of a published benchmark with its paper, and decode every file once.

    Args:
        name: one of `edgedistill.list_benchmarks()`.
        root: where the copy lies.
        lists: folder of HDG's image lists, below `root` when None.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises DataError when there is no such benchmark or copy.
    """
    if name not in benchmarks():
        raise DataError(f"no benchmark {name!r}; {choices(name, list(benchmarks()))}")
    with reporting([LoggingCallback()] if callbacks is None else callbacks):
        check = check_benchmark(name, root, None if lists is None else str(lists))
        return BenchmarkInfo(check, _unreadable(check.index))


def _unreadable(index: Index | None) -> tuple[str, ...]:
    """Lines about files; only decoding every one of them tells."""
    return () if index is None else open_store(index, _CHECK_SIZE).problems()
