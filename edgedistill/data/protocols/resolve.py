"""Images and classes of a recipe: dataset and protocol resolved to one split. Needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.home import expand_home
from edgedistill.data.datasets import load_index
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.index import TEST, Index
from edgedistill.data.protocols.domainbed import domainbed_split
from edgedistill.data.protocols.hdg import (
    Slots,
    computed_slots,
    hdg_list_split,
    hdg_split,
    listed_slots,
    published_slots,
    union_of,
)
from edgedistill.data.protocols.split import Split, class_lists, make_split, source_domains
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.published.image_lists import locate_lists
from edgedistill.data.readers.unlabelled import read_unlabelled
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection


@dataclass(frozen=True)
class OpenSetSplit:
    """Images and classes of a run: an index, its split and the rows tested on.

    Attributes:
        index, split: see `edgedistill.data`.
        target: rows of the test images, known ones first.
        target_labels: int64, known labels, -1 for unknown.
        notes: warnings about the split, a line each.
        unlabelled: images of the target where `split.test_kind` is "unlabelled", an index of its
            own without classes; None otherwise.
    """

    index: Index
    split: Split
    target: NDArray[np.int64]
    target_labels: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    unlabelled: Index | None = None

    def label(self, images: ImageSet) -> LabelledImages:
        """Images of the index with their known labels, and their positions by domain."""
        domain = self.index.domain[images.rows]
        return LabelledImages(
            images,
            labels=self.split.known_label[self.index.label[images.rows]],
            domains=tuple(np.flatnonzero(domain == number) for number in np.unique(domain)),
        )


def resolve_split(data: DataSection, index: Index | None = None) -> OpenSetSplit:
    """Images and split of a recipe's section [data]. Raises DataError.

    Args:
        data: the section.
        index: its images, where they are loaded already.
    """
    if index is None:
        index = load_index(data)
    split = split_of(data, index)
    rows = np.concatenate([split.target_known, split.target_unknown])
    labels = split.known_label[index.label[rows]]
    unlabelled = None
    if split.test_kind == "unlabelled":
        assert data.target is not None
        unlabelled = read_unlabelled(data.target)
        _refuse_trained_images(index, unlabelled)
    notes = (*_notes(data), *_unused_test_images(index, split))
    return OpenSetSplit(index, split, rows, labels, notes, unlabelled)


def split_of(data: DataSection, index: Index) -> Split:
    """The split of a recipe's protocol. Raises DataError."""
    target = target_domain(data, index)
    folder = _unlabelled_folder(target, index)
    if folder is not None and data.protocol != "instances":
        raise DataError(
            f"data.target: {folder} is a folder without classes, which protocol = "
            f"{data.protocol!r} cannot test on; give a domain, {', '.join(index.domains)}"
        )
    if data.protocol == "hdg":
        assert target is not None
        return _hdg(data, index, target)
    if data.protocol == "domainbed":
        assert target is not None
        # The protocol is closed-set: also a dataset's own unknown classes are trained on.
        closed_set = data.known is None and data.unknown is None
        return domainbed_split(
            index,
            target=target,
            known=index.classes if closed_set else data.known,
            unknown=data.unknown,
            trial=data.split_seed,
            holdout=data.val_fraction,
        )
    if folder is not None and data.test_fraction:
        raise DataError(
            f"data.test_fraction: nothing is held out where data.target is a folder without "
            f"classes, such as {folder}; drop one of the two"
        )
    split = make_split(
        index,
        target=target if folder is None else None,
        sources=data.sources,
        known=data.known,
        unknown=data.unknown,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        seed=data.split_seed,
        test=folder is None,
    )
    return split if folder is None else replace(split, target=folder.name, test_kind="unlabelled")


def _unlabelled_folder(target: str | None, index: Index) -> Path | None:
    """The folder that a target is which is no domain."""
    if target is None or target in index.domains or not expand_home(target).is_dir():
        return None
    return expand_home(target).resolve()


def target_domain(data: DataSection, index: Index) -> str | None:
    """The domain that `data.target` means, by its name or its folder; else `data.target`."""
    if data.target is None or data.target in index.domains:
        return data.target
    facts = benchmarks().get(data.dataset)
    domain = facts.domain(data.target) if facts else None
    if domain is not None:
        return domain
    folder = expand_home(data.target).resolve()
    return next((name for name in index.domains if index.root / name == folder), data.target)


def _refuse_trained_images(index: Index, unlabelled: Index) -> None:
    """Refuse a folder without classes that holds images of the dataset."""
    own = {index.path(row) for row in range(len(index))}
    shared = [path for path in unlabelled.paths if unlabelled.root / path in own]
    if shared:
        raise DataError(
            f"data.target: {len(shared)} images of {unlabelled.root} are images of the dataset "
            f"too, the first is {shared[0]}; give a domain's name, or a folder of other images"
        )


def _unused_test_images(index: Index, split: Split) -> tuple[str, ...]:
    """A line about given test images that are neither trained nor tested on."""
    tested = np.concatenate([split.target_known, split.target_unknown])
    given = (index.split == TEST) & (split.known_label[index.label] >= 0)
    unused = len(np.setdiff1d(np.flatnonzero(given), tested))
    if not unused:
        return ()
    why = "the test is on data.target" if split.target else "nothing is tested on"
    return (f"{unused} given test images of {index.root} are not used: {why}",)


def _hdg(data: DataSection, index: Index, target: str) -> Split:
    sources = source_domains(index, target)
    slots, known, unknown = _slots(data, index, sources, target)
    named = data.dataset in benchmarks()
    if data.lists is not None and not named:
        raise DataError(f"data.lists: only for {', '.join(benchmarks())}")
    lists = _lists(data)
    if lists is not None:
        return hdg_list_split(
            data.dataset, index, lists, target=target, slots=slots, known=known, unknown=unknown
        )
    return hdg_split(
        index,
        target=target,
        slots=slots,
        known=known,
        unknown=unknown,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        seed=data.split_seed,
    )


def _lists(data: DataSection) -> Path | None:
    """Folder of a benchmark's image lists."""
    if data.dataset not in benchmarks() or data.root is None:
        return None
    return locate_lists(data.dataset, Path(data.root), data.lists)


def _notes(data: DataSection) -> tuple[str, ...]:
    facts = benchmarks().get(data.dataset)
    if data.protocol != "hdg" or facts is None or facts.hdg is None or _lists(data) is not None:
        return ()
    return (
        f"no image lists in {data.root}: training and validation are split by hash, so results "
        f"are not those of the published lists of {facts.title}; set data.lists where you have "
        "them",
    )


def _slots(
    data: DataSection, index: Index, sources: tuple[str, ...], target: str
) -> tuple[Slots, tuple[str, ...], tuple[str, ...] | None]:
    """Classes of each source, and the known and unknown classes in label order."""
    facts = benchmarks().get(data.dataset)
    unknown = None if data.unknown is None else tuple(data.unknown)
    if data.classes_per_source:
        if data.known is not None:
            raise DataError(
                "data.known: with classes_per_source the known classes are those of the sources; "
                "drop data.known"
            )
        slots = listed_slots(index, sources, data.classes_per_source)
        return slots, union_of(index, slots), unknown
    assert data.hybridness is not None
    if facts and facts.hdg:
        if data.known is not None or data.unknown is not None:
            raise DataError(
                f"data.{'unknown' if data.known is None else 'known'}: the published splits of "
                f"{facts.title} fix the known and unknown classes; drop it, or list "
                "data.classes_per_source"
            )
        return published_slots(data.dataset, target, data.hybridness), facts.known, facts.unknown
    known, others = class_lists(index, data.known, unknown)
    return computed_slots(sources, known, data.hybridness), known, others
