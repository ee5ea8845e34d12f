"""The leave-one-domain-out split of an index: a hash per instance decides, nothing is stored.

The side of an image depends on the seed, its class and its instance alone: the file stem, or the
part of it before the dataset's `instance_separator`. An instance that appears in several domains
under one name (the same emoji drawn by two vendors, the same object in two cameras) is therefore
on one side in all of them, and adding classes, domains or images moves no other image.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.suggestions import choices
from edgedistill.data.index import Index
from edgedistill.data.protocols.hybridness import hybridness
from edgedistill.errors import DataError


@dataclass(frozen=True)
class Split:
    """Rows of an index by role in a leave-one-domain-out experiment.

    Attributes:
        known: class names; the label a student learns is the position here.
        unknown: class names that occur only in the target test.
        sources: domain names trained on, in the order of the index.
        target: domain name tested on.
        train, val: int64 rows of known classes in the sources, ascending.
        target_known, target_unknown: int64 rows of the target, ascending.
        known_label: int64 [number of classes in the index], class id -> known label or -1.
    """

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    sources: tuple[str, ...]
    target: str
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    target_known: NDArray[np.int64]
    target_unknown: NDArray[np.int64]
    known_label: NDArray[np.int64]


def training_hybridness(index: Index, split: Split) -> float | None:
    """Hybridness of the classes that each source domain is trained on; None for a single source."""
    domains = [index.domains.index(name) for name in split.sources]
    rows = [split.train[index.domain[split.train] == domain] for domain in domains]
    value = hybridness([set(index.label[of_domain].tolist()) for of_domain in rows])
    return None if value is None else float(value)


def instance_hash(seed: int, class_name: str, instance: str) -> float:
    """Uniform number in [0, 1) that depends on these three values only (blake2b, 53 bits)."""
    text = f"{seed}/{class_name}/{instance}".encode(errors="surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def instance_hashes(index: Index, seed: int) -> NDArray[np.float64]:
    """`instance_hash` of every row: float64 [N]."""
    return np.array(
        [
            instance_hash(seed, index.classes[label], index.instance(row))
            for row, label in enumerate(index.label)
        ],
        dtype=np.float64,
    )


def make_split(
    index: Index,
    *,
    target: str,
    sources: Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    unknown: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    test_fraction: float | None = None,
    seed: int = 0,
) -> Split:
    """Leave-one-domain-out split of an index.

    With u the hash of an instance: u < test_fraction is test; of the rest, val_fraction is
    validation and what remains is training. Sources give training and validation images of the
    known classes. The target gives the known classes' test instances (all of them when
    test_fraction is 0) and every image of the unknown classes.

    Classes: with neither list given, `index.unknown` is unknown and the rest is known. With only
    `known`, every other class is unknown. With only `unknown`, the known classes are all others
    but the default unknown ones. With both, a class in neither list is left out.

    Args:
        index: the images.
        target: name of the domain to test on.
        sources: names of the domains to train on; None takes all others.
        known: known class names, in label order.
        unknown: unknown class names, may be empty.
        val_fraction: share of non-test instances held out for validation, in [0, 1).
        test_fraction: share of instances reserved for the target; None takes the index's default.
        seed: another seed gives another split.

    Raises:
        DataError: a name that does not exist, lists that overlap, or a part left empty.
    """
    share = index.test_fraction if test_fraction is None else test_fraction
    for field, value in (("val_fraction", val_fraction), ("test_fraction", share)):
        if not 0 <= value < 1:
            raise DataError(f"split: {field} is {value}, it must be in [0, 1)")
    sources = source_domains(index, target, sources)
    known_names, unknown_names = class_lists(index, known, unknown)
    known_label = label_map(index, known_names)
    is_unknown = label_map(index, unknown_names) >= 0

    u = instance_hashes(index, seed)
    is_test = u < share
    is_val = ~is_test & (u < share + val_fraction * (1 - share))
    row_known = known_label[index.label] >= 0
    in_target = index.domain == index.domains.index(target)
    in_sources = np.isin(index.domain, [index.domains.index(name) for name in sources])
    source_known = row_known & in_sources
    split = Split(
        known=known_names,
        unknown=unknown_names,
        sources=sources,
        target=target,
        train=_rows(source_known & ~is_test & ~is_val),
        val=_rows(source_known & is_val),
        target_known=_rows(in_target & row_known & (is_test if share > 0 else True)),
        target_unknown=_rows(in_target & is_unknown[index.label]),
        known_label=known_label,
    )
    refuse_empty_parts(index, split, val_fraction, share)
    return split


def source_domains(
    index: Index, target: str, wanted: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The wanted domains, or all but the target, in the order of the index.

    Raises DataError for a name that does not exist, or when none is left to train on.
    """
    if target not in index.domains:
        raise DataError(
            f"split: target domain {target!r} is not in {index.root}; "
            f"{choices(target, index.domains)}"
        )
    for name in wanted or ():
        if name not in index.domains or name == target:
            others = [d for d in index.domains if d != target]
            why = "is the target" if name == target else f"is not in {index.root}"
            raise DataError(f"split: source domain {name!r} {why}; {choices(name, others)}")
    sources = tuple(d for d in index.domains if d != target and (not wanted or d in wanted))
    if not sources:
        raise DataError(
            f"split: {index.root} has the one domain {target!r}, so no source is left to train "
            f"on; add a domain folder"
        )
    return sources


def label_map(index: Index, names: Sequence[str]) -> NDArray[np.int64]:
    """int64 [number of classes in the index]: class id -> position in `names`, or -1."""
    labels = np.full(len(index.classes), -1, dtype=np.int64)
    for position, name in enumerate(names):
        labels[index.class_id(name)] = position
    return labels


def _rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero(mask).astype(np.int64)


def class_lists(
    index: Index, known: Sequence[str] | None, unknown: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Known and unknown classes as `make_split` reads the two lists. Raises DataError."""
    for what, names in (("known", known), ("unknown", unknown)):
        for name in names or ():
            if name not in index.classes:
                raise DataError(
                    f"split: {what} class {name!r} is not in {index.root}; "
                    f"{choices(name, index.classes)}"
                )
        if names is not None and len(set(names)) < len(names):
            duplicate = next(n for n in names if list(names).count(n) > 1)
            raise DataError(f"split: {what} class {duplicate!r} is listed twice; keep one")
    if known is None:
        not_known = set(index.unknown) | set(unknown or ())
        known = [c for c in index.classes if c not in not_known]
        unknown = index.unknown if unknown is None else unknown
    elif unknown is None:
        unknown = [c for c in index.classes if c not in set(known)]
    overlap = [c for c in known if c in set(unknown)]
    if overlap:
        raise DataError(
            f"split: {', '.join(overlap)} listed as both known and unknown; keep each in one list"
        )
    if not known:
        raise DataError(
            f"split: no known class is left; allowed: {', '.join(index.classes)}, "
            f"listed as unknown: {', '.join(unknown)}"
        )
    return tuple(known), tuple(unknown)


def refuse_empty_parts(
    index: Index, split: Split, val_fraction: float, test_fraction: float
) -> None:
    """Raise DataError for a split that nothing can be trained or tested on."""
    shares = f"(val_fraction {val_fraction}, test_fraction {test_fraction})"
    trained_domains = set(index.domain[split.train].tolist())
    for name in split.sources:
        if index.domains.index(name) not in trained_domains:
            raise DataError(
                f"split: source domain {name!r} has no training image of a known class {shares}; "
                f"add images of {', '.join(split.known[:5])} or remove the domain"
            )
    trained_classes = set(index.label[split.train].tolist())
    for name in split.known:
        if index.class_id(name) not in trained_classes:
            raise DataError(
                f"split: known class {name!r} has no training image in {', '.join(split.sources)} "
                f"{shares}; add images or list it as unknown"
            )
    if val_fraction > 0 and not len(split.val):
        raise DataError(
            f"split: no validation image of a known class in {', '.join(split.sources)} {shares}; "
            f"add images or raise val_fraction"
        )
    if not len(split.target_known):
        raise DataError(
            f"split: target {split.target!r} has no test image of a known class {shares}; "
            f"add images or raise test_fraction"
        )
