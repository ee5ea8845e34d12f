"""Names of domains and classes that differ in spelling only, and joining them."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.index import Index


def similar_names(index: Index) -> tuple[str, ...]:
    """A line for every group of domains, and of classes, whose names have one `spelling_key`."""
    return (
        *_lines("domains", index.domains, index.domain, "classes", index.classes, index.label),
        *_lines("classes", index.classes, index.label, "domains", index.domains, index.domain),
    )


def merge_spellings(index: Index) -> Index:
    """The index with the domains, and the classes, of one `spelling_key` joined.

    A group has the name that most of its images have, or the first of equals. Its class is unknown
    where one of its names is.
    """
    domains, domain_of = _merged(index.domains, index.domain)
    classes, class_of = _merged(index.classes, index.label)
    unknown = {classes[class_of[index.class_id(name)]] for name in index.unknown}
    return replace(
        index,
        domains=domains,
        classes=classes,
        domain=domain_of[index.domain],
        label=class_of[index.label],
        names={name: index.names[name] for name in classes},
        unknown=tuple(name for name in classes if name in unknown),
    )


def spelling_key(name: str) -> str:
    """The name without case, outer spaces, Unicode form, and the kind of its separators."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


def _groups(names: Sequence[str]) -> list[list[int]]:
    """Positions of the names of each `spelling_key`, in the order of their first."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        groups[spelling_key(name)].append(position)
    return list(groups.values())


def _merged(
    names: Sequence[str], positions: NDArray[np.int64]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """One name for each group, and the new position of each name, int64 [names]."""
    count = np.bincount(positions, minlength=len(names))
    # The first of the largest: `max` returns the earlier of equals.
    groups = sorted((max(group, key=lambda n: count[n]), group) for group in _groups(names))
    new_position = np.zeros(len(names), dtype=np.int64)
    for number, (_, group) in enumerate(groups):
        new_position[group] = number
    return tuple(names[position] for position, _ in groups), new_position


def _lines(
    kind: str,
    names: Sequence[str],
    positions: NDArray[np.int64],
    other_kind: str,
    others: Sequence[str],
    other_positions: NDArray[np.int64],
) -> list[str]:
    def placed(position: int) -> str:
        # Two Unicode forms of a name look the same: their places tell them apart.
        rows = positions == position
        present = [others[other] for other in np.unique(other_positions[rows]).tolist()]
        more = ", ..." if len(present) > 3 else ""
        count = np.count_nonzero(rows)
        place = f"{count} images in {other_kind} {', '.join(present[:3])}{more}"
        return f"{names[position]!r} ({place})"

    return [
        f"{kind} {' and '.join(map(placed, group))} differ only in case, spaces, '_', '-' or "
        "Unicode form; rename one, or set data.merge_spellings = true, if they are meant as one"
        for group in _groups(names)
        if len(group) > 1
    ]
