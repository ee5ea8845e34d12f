"""DomainBed's split of every environment into "in" and "out", to the image.

Gulrajani & Lopez-Paz, "In Search of Lost Domain Generalization", arXiv 2007.01434.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.seeds import seed_hash
from edgedistill.data.index import Index
from edgedistill.data.protocols.split import (
    Split,
    class_lists,
    label_map,
    refuse_empty_parts,
    source_domains,
)


def environment_split(
    images: int, *, trial: int, environment: int, holdout: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The held-out positions ("out") and the others ("in") of an environment's sorted images.

    Args:
        images: number of images of the environment.
        trial: trial seed.
        environment: position of the environment among the dataset's.
        holdout: share held out, rounded down.
    """
    keys = list(range(images))
    np.random.RandomState(seed_hash(trial, environment)).shuffle(keys)
    count = int(images * holdout)
    return np.array(keys[:count], dtype=np.int64), np.array(keys[count:], dtype=np.int64)


def domainbed_split(
    index: Index,
    *,
    target: str,
    known: Sequence[str] | None = None,
    unknown: Sequence[str] | None = None,
    trial: int = 0,
    holdout: float = 0.2,
) -> Split:
    """Leave-one-domain-out as DomainBed splits it: every environment into "in" and "out".

    The sources' "in" parts train and their "out" parts validate; the test is on the target's "in"
    part. Images of classes that are neither known nor unknown are left out after the split, so
    that the split does not depend on them.

    Args:
        index: the images; the order of domains is that of the environments.
        target: the test environment.
        known, unknown: as in `make_split`; the protocol itself has all classes known.
        trial: trial seed.
        holdout: share of each environment that is "out".

    Raises:
        DataError: as `make_split`.
    """
    sources = source_domains(index, target)
    known_names, unknown_names = class_lists(index, known, unknown)
    known_label = label_map(index, known_names)
    parts = {
        domain: _environment(index, number, trial, holdout)
        for number, domain in enumerate(index.domains)
    }
    _, tested = parts[target]

    def of(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.sort(rows[labels[index.label[rows]] >= 0])

    split = Split(
        known=known_names,
        unknown=unknown_names,
        sources=sources,
        target=target,
        train=of(np.concatenate([parts[d][1] for d in sources]), known_label),
        val=of(np.concatenate([parts[d][0] for d in sources]), known_label),
        target_known=of(tested, known_label),
        target_unknown=of(tested, label_map(index, unknown_names)),
        known_label=known_label,
    )
    refuse_empty_parts(index, split, holdout, 0)
    return split


def _environment(
    index: Index, number: int, trial: int, holdout: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = np.flatnonzero(index.domain == number)
    held_out, others = environment_split(
        len(rows), trial=trial, environment=number, holdout=holdout
    )
    return rows[held_out], rows[others]
