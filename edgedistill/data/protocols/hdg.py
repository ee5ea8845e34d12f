"""HDG's protocol: source domains that share their classes to a chosen degree (arXiv 2404.09011).

A split has a *slot* of known classes for each source domain; the target has all classes. The
slots are published, computed for a wanted hybridness, or listed by the user.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.suggestions import choices
from edgedistill.data.index import Index
from edgedistill.data.protocols.hybridness import TOLERANCE, overlapping_windows
from edgedistill.data.protocols.split import (
    Split,
    class_lists,
    label_map,
    make_split,
    refuse_empty_parts,
    source_domains,
)
from edgedistill.data.published.benchmarks import Part, benchmarks
from edgedistill.data.published.image_lists import load_lists
from edgedistill.errors import DataError
from edgedistill.recipe.values import parse_hybridness

Slots = dict[str, tuple[str, ...]]


def published_slots(name: str, target: str, hybridness: str) -> Slots:
    """Source domain -> classes of one of the authors' splits.

    Raises:
        DataError: the benchmark has no split of this hybridness, or none at all.
    """
    facts = benchmarks()[name]
    if facts.hdg is None:
        raise DataError(f"data.hybridness: {facts.title} has no published splits")
    value = parse_hybridness(hybridness)
    matches = [h for h in facts.hdg.splits if abs(Fraction(h) - value) <= TOLERANCE]
    if not matches:
        raise DataError(
            f"data.hybridness: {facts.title} has no split of {hybridness}; published are "
            f"{', '.join(facts.hdg.splits)}; for another one list data.classes_per_source"
        )
    sources = [d for d in facts.domains if d != target]
    return {
        domain: tuple(facts.classes[i] for i in slot)
        for domain, slot in zip(sources, facts.hdg.splits[matches[0]], strict=True)
    }


def computed_slots(sources: Sequence[str], known: Sequence[str], hybridness: str) -> Slots:
    """Source domain -> classes of a split with the wanted hybridness over any classes.

    Raises:
        DataError: so many classes and sources cannot have it.
    """
    windows = overlapping_windows(len(known), len(sources), parse_hybridness(hybridness))
    return {
        domain: tuple(known[i] for i in window)
        for domain, window in zip(sources, windows, strict=True)
    }


def listed_slots(
    index: Index, sources: Sequence[str], listed: Mapping[str, Sequence[str]]
) -> Slots:
    """Source domain -> classes as a recipe lists them; the target's entry is ignored.

    Raises:
        DataError: a source is not listed, or a name does not exist.
    """
    for domain, names in listed.items():
        if domain not in index.domains:
            raise DataError(
                f"data.classes_per_source: no domain {domain!r}; {choices(domain, index.domains)}"
            )
        for name in names:
            if name not in index.classes:
                raise DataError(
                    f"data.classes_per_source.{domain}: no class {name!r}; "
                    f"{choices(name, index.classes)}"
                )
    for domain in sources:
        if not listed.get(domain):
            raise DataError(
                f"data.classes_per_source: the source domain {domain!r} has no classes; list some"
            )
    return {domain: tuple(listed[domain]) for domain in sources}


def union_of(index: Index, slots: Slots) -> tuple[str, ...]:
    """Every class of some source, in the order of the index."""
    union = set().union(*slots.values())
    return tuple(c for c in index.classes if c in union)


def hdg_split(
    index: Index,
    *,
    target: str,
    slots: Slots,
    known: Sequence[str],
    unknown: Sequence[str] | None,
    val_fraction: float = 0.2,
    test_fraction: float | None = None,
    seed: int = 0,
) -> Split:
    """`make_split`, with each source restricted to the classes of its slot."""
    return make_split(
        index,
        target=target,
        known=known,
        unknown=unknown,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        used=_allowed(index, slots)[index.domain, index.label],
    )


def hdg_list_split(
    name: str,
    index: Index,
    lists: Path,
    *,
    target: str,
    slots: Slots,
    known: Sequence[str],
    unknown: Sequence[str] | None,
) -> Split:
    """HDG's split to the image, from its lists.

    The sources' lists train and validate, restricted to each source's slot; the target's test
    list is the test.

    Raises:
        DataError: a list is missing, wrong, or names an image that is not there, or a train
            and a val list share an image.
    """
    sources = source_domains(index, target)
    known_names, unknown_names = class_lists(index, known, unknown)
    known_label = label_map(index, known_names)
    needed: list[tuple[str, Part]] = []
    for domain in sources:
        needed += [(domain, "train"), (domain, "val")]
    needed.append((target, "test"))
    rows = load_lists(name, index, lists, needed)
    for domain in sources:
        shared = np.intersect1d(rows[domain, "train"], rows[domain, "val"])
        if len(shared):
            raise DataError(
                f"data: {len(shared)} images of {domain} are in its train list and in its val list "
                f"in {lists}, the first is {index.paths[shared[0]]}; set data.lists to another copy"
            )
    test_rows = rows[target, "test"]
    split = Split(
        known=known_names,
        unknown=unknown_names,
        sources=sources,
        target=target,
        train=_in_slots(index, np.concatenate([rows[d, "train"] for d in sources]), slots),
        val=_in_slots(index, np.concatenate([rows[d, "val"] for d in sources]), slots),
        target_known=test_rows[known_label[index.label[test_rows]] >= 0],
        target_unknown=test_rows[label_map(index, unknown_names)[index.label[test_rows]] >= 0],
        known_label=known_label,
    )
    refuse_empty_parts(index, split, len(split.val) / max(len(split.train), 1), 0)
    return split


def _in_slots(index: Index, rows: NDArray[np.int64], slots: Slots) -> NDArray[np.int64]:
    """The rows whose class is in the slot of their domain, ascending."""
    return np.sort(rows[_allowed(index, slots)[index.domain[rows], index.label[rows]]])


def _allowed(index: Index, slots: Slots) -> NDArray[np.bool_]:
    """Whether a domain's slot has a class: bool [domains, classes]."""
    allowed = np.zeros((len(index.domains), len(index.classes)), dtype=bool)
    for domain, names in slots.items():
        allowed[index.domains.index(domain), [index.class_id(n) for n in names]] = True
    return allowed
