"""Names of domains and classes that differ in spelling only, so may be meant as one."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.index import Index


def similar_names(index: Index) -> tuple[str, ...]:
    """A line for every group of domains, and of classes, whose names have one `spelling_key`."""
    return (
        *_lines("domains", index.domains, index.domain, "classes", index.classes, index.label),
        *_lines("classes", index.classes, index.label, "domains", index.domains, index.domain),
    )


def spelling_key(name: str) -> str:
    """The name without case, outer spaces, Unicode form, and the kind of its separators."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.replace("_", " ").replace("-", " ").split())


def _lines(
    kind: str,
    names: Sequence[str],
    positions: NDArray[np.int64],
    other_kind: str,
    others: Sequence[str],
    other_positions: NDArray[np.int64],
) -> list[str]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        groups[spelling_key(name)].append(position)

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
        "Unicode form; rename the folders if one is meant"
        for group in groups.values()
        if len(group) > 1
    ]
