"""Images without labels that join a training: listed, and without those of the dataset itself.

An image that the run validates or tests on must not be learned from under another name, so what
has the path or the decoded pixels of such an image is left out.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.suggestions import choices
from edgedistill.data.emoji.pool import load_emoji_pool
from edgedistill.data.icons.pool import load_icon_pool
from edgedistill.data.images import ImageSet
from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.readers.unlabelled import read_unlabelled
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection
from edgedistill.registries import DATASETS

# Embedded benchmark -> its own images of no class, a domain per style.
POOLS: Mapping[str, Callable[[], Index]] = {"emoji": load_emoji_pool, "icons": load_icon_pool}
_KEY = "data.unlabelled"


@dataclass(frozen=True)
class UnlabelledImages:
    """The images of one entry of `data.unlabelled`.

    Attributes:
        entry: as the recipe has it.
        index: every image of it, so that runs of different targets share what is stored of them.
        rows: those that a run may learn from, int64, as far as paths can say.
        notes: a line on what was left out.
    """

    entry: str
    index: Index
    rows: NDArray[np.int64]
    notes: tuple[str, ...]


def open_unlabelled(
    data: DataSection, dataset: OpenSetSplit, size: int
) -> tuple[tuple[ImageSet, ...], tuple[str, ...]]:
    """The readable images of every entry of `data.unlabelled` at a size, and lines of warning.

    Without those that have the pixels of an image of `own_rows`, and as `list_unlabelled`.

    Raises DataError as that, and where of an entry no image is left.
    """
    entries = list_unlabelled(data, dataset)
    if not entries:
        return (), ()
    own = _own_hashes(dataset, size)
    images: list[ImageSet] = []
    lines: list[str] = []
    for entry in entries:
        part, notes = _open(entry, own, size)
        images.append(part)
        lines += notes
    return tuple(images), tuple(lines)


def _open(
    entry: UnlabelledImages, own: NDArray[np.uint64], size: int
) -> tuple[ImageSet, tuple[str, ...]]:
    index = entry.index
    store = open_store(index, size)
    readable = entry.rows[store.readable[entry.rows]]
    copies = np.isin(store.hashes[readable], own)
    rows, problems = readable[~copies], store.problems(entry.rows)
    notes = (*entry.notes, *_omission(index, readable[copies], "have the pixels of"))
    if problems:
        more = f" (and {len(problems) - 1} more, see data info)" if len(problems) > 1 else ""
        what = f"{len(problems)} image files need attention: {problems[0]}{more}"
        notes = (*notes, f"{_KEY}: {index.root}: {what}")
    if not len(rows):
        raise DataError(f"{_KEY}: no image of {index.root} is left: {notes[-1]}")
    return replace(store.images(rows), problems=problems, root=index.root), notes


def list_unlabelled(data: DataSection, dataset: OpenSetSplit) -> tuple[UnlabelledImages, ...]:
    """The images of every entry of `data.unlabelled`; nothing is decoded.

    Of an embedded benchmark's images, those in the styles of the run's source domains where the
    run is on that benchmark, in all styles otherwise.

    Raises DataError: no such folder or benchmark, or no image in it that may be learned from.
    """
    own = {_path(dataset.index, row) for row in own_rows(dataset).tolist()}
    if dataset.unlabelled is not None:
        own |= {_path(dataset.unlabelled, row) for row in range(len(dataset.unlabelled))}
    listed: set[str] = set()
    return tuple(_listed(entry, data, dataset, own, listed) for entry in data.unlabelled)


def own_rows(dataset: OpenSetSplit) -> NDArray[np.int64]:
    """Index rows that a run has a label of, or must not learn from: int64, ascending.

    Training, validation and test images, and all of the target domain and of unknown classes.
    """
    index, split = dataset.index, dataset.split
    unknown = np.isin(index.label, [index.class_id(name) for name in split.unknown])
    used = [split.train, split.val, dataset.target, np.flatnonzero(unknown)]
    if split.test_kind == "unseen domain" and split.target is not None:
        used.append(np.flatnonzero(index.domain == index.domains.index(split.target)))
    return np.unique(np.concatenate(used))


def _own_hashes(dataset: OpenSetSplit, size: int) -> NDArray[np.uint64]:
    store, rows = open_store(dataset.index, size), own_rows(dataset)
    hashes = [store.hashes[rows[store.readable[rows]]]]
    if dataset.unlabelled is not None:
        target = open_store(dataset.unlabelled, size)
        hashes.append(target.hashes[target.readable])
    return np.concatenate(hashes)


def _listed(
    entry: str, data: DataSection, dataset: OpenSetSplit, own: set[str], listed: set[str]
) -> UnlabelledImages:
    if entry in POOLS:
        index = POOLS[entry]()
        rows = np.arange(len(index))
        if data.dataset == entry:
            styles = [index.domains.index(name) for name in dataset.split.sources]
            rows = rows[np.isin(index.domain, styles)]
    elif entry in DATASETS:
        raise DataError(
            f"{_KEY}: {entry!r} has no images of no class; give a folder, or one of "
            f"{', '.join(POOLS)}; for a folder of that name write './{entry}'"
        )
    else:
        index = _read(entry)
        rows = np.arange(len(index))
    paths = [_path(index, row) for row in rows.tolist()]
    is_own, repeated = (
        np.array([path in paths_of_others for path in paths], bool)
        for paths_of_others in (own, listed)
    )
    listed.update(paths)
    notes = [f"{_KEY}: {index.root}: left out {'; '.join(index.omitted)}"] if index.omitted else []
    notes += _omission(index, rows[is_own], "are")
    if repeated.any():
        first = index.paths[rows[np.argmax(repeated)]]
        notes.append(
            f"{_KEY}: {index.root}: left out {np.count_nonzero(repeated)} images that an earlier "
            f"entry has (first {first})"
        )
    rest = rows[~is_own & ~repeated]
    if not len(rest):
        raise DataError(f"{_KEY}: no image of {index.root} is left: {notes[-1]}")
    return UnlabelledImages(entry, index, rest, tuple(notes))


def _read(entry: str) -> Index:
    try:
        return read_unlabelled(entry, _KEY)
    except DataError as error:
        if "/" in entry or os.sep in entry:
            raise
        raise DataError(f"{error}, or a name: {choices(entry, list(POOLS))}") from None


def _omission(index: Index, rows: NDArray[np.int64], verb: str) -> tuple[str, ...]:
    if not len(rows):
        return ()
    return (
        f"{_KEY}: {index.root}: left out {len(rows)} images that {verb} images of the dataset: of "
        f"training, validation or test, of its target or of unknown classes (first "
        f"{index.paths[rows[0]]})",
    )


def _path(index: Index, row: int) -> str:
    return os.path.join(index.root, index.paths[row])
