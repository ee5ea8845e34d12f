"""The split of an index into training, validation and test, by a hash per instance or as given.

The hash depends on the seed, the class and the instance alone: the file stem, or the part of it
before the dataset's `instance_separator`. An instance that appears in several domains under one
name (the same emoji drawn by two vendors, the same object in two cameras) is therefore on one side
in all of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.suggestions import choices
from edgedistill.data.index import TEST, VAL, Index
from edgedistill.data.protocols.hybridness import hybridness
from edgedistill.data.protocols.stratify import hashed_validation, held_out_parts
from edgedistill.errors import DataError

TestKind = Literal["unseen domain", "held-out", "unlabelled", "none"]
# Kinds of test images that have labels to measure by.
MEASURED: tuple[TestKind, ...] = ("unseen domain", "held-out")
# Share held out for the test where there is neither a target nor a given split.
HELD_OUT = 0.2


@dataclass(frozen=True)
class Split:
    """Rows of an index by role in an experiment.

    Attributes:
        known: class names; the label a student learns is the position here.
        unknown: class names that occur only in the test.
        sources: domain names trained on, in the order of the index.
        target: name of the domain tested on, or of the folder of unlabelled images; None where
            there is neither.
        train, val: int64 rows of known classes in the sources, ascending.
        target_known, target_unknown: int64 rows tested on, ascending.
        known_label: int64 [number of classes in the index], class id -> known label or -1.
        test_kind: what is tested on: the target domain, held-out images of the sources, a folder
            of unlabelled images, of which this index has no row, or nothing.
    """

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    sources: tuple[str, ...]
    target: str | None
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    target_known: NDArray[np.int64]
    target_unknown: NDArray[np.int64]
    known_label: NDArray[np.int64]
    test_kind: TestKind = "unseen domain"


def source_unknown_rows(index: Index, split: Split) -> NDArray[np.int64]:
    """Rows of unknown classes in the source domains that are not tested on, int64, ascending."""
    domains = [index.domains.index(name) for name in split.sources]
    classes = [index.classes.index(name) for name in split.unknown]
    rows = np.flatnonzero(np.isin(index.domain, domains) & np.isin(index.label, classes))
    return np.setdiff1d(rows, split.target_unknown)


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
    """`instance_hash` of every row: float64 [N].

    Where one name is in different folders of a class and domain, the instances are told apart by
    their folders.
    """
    folders = [path.rpartition("/")[0] for path in index.paths]
    names = [index.instance(row) for row in range(len(index))]
    keys = list(zip(index.domain.tolist(), index.label.tolist(), names, strict=True))
    folder_of: dict[tuple[int, int, str], str] = {}
    shared = {
        key
        for key, folder in zip(keys, folders, strict=True)
        if folder_of.setdefault(key, folder) != folder
    }
    return np.array(
        [
            instance_hash(
                seed, index.classes[key[1]], f"{folder}/{name}" if key in shared else name
            )
            for key, folder, name in zip(keys, folders, names, strict=True)
        ],
        dtype=np.float64,
    )


def make_split(
    index: Index,
    *,
    target: str | None = None,
    sources: Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    unknown: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    test_fraction: float | None = None,
    seed: int = 0,
    test: bool = True,
    used: NDArray[np.bool_] | None = None,
) -> Split:
    """Split of an index that leaves one domain out, or holds out images of every class.

    Sources give training and validation images of the known classes. With a target, the test is
    the target's known classes and every image of its unknown classes. With u the hash of an
    instance: u < test_fraction is test; of the rest, val_fraction is validation and what remains is
    training; the target's known images are all tested when test_fraction is 0. Without a target,
    test_fraction of the instances of every known class is held out for the test, to which all
    images of unknown classes are added. A class with two source instances or more is both trained
    on and validated, see `stratify`.

    Where the index has a given split, its parts stay what they are: images given for validation or
    test are never trained on, and only a part that is not given is taken from the training images.
    Nothing is held out for the test unless it is given or test_fraction says so.

    Classes: with neither list given, `index.unknown` is unknown and the rest is known. With only
    `known`, every other class is unknown. With only `unknown`, the known classes are all others
    but the default unknown ones. With both, a class in neither list is left out.

    Args:
        index: the images.
        target: name of the domain to test on; None to train on all.
        sources: names of the domains to train on; None takes all others.
        known: known class names, in label order.
        unknown: unknown class names, may be empty.
        val_fraction: share of non-test instances held out for validation, in [0, 1).
        test_fraction: share of instances reserved for the test; None takes the index's default,
            or without a target and a given split 0.2 where that is 0.
        seed: another seed gives another split.
        test: False holds nothing out where there is no target.
        used: bool [N], the rows that sources may give; all when None.

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

    in_sources = np.isin(index.domain, [index.domains.index(name) for name in sources])
    candidates = in_sources & (known_label[index.label] >= 0)
    if used is not None:
        candidates &= used
    tested = in_sources if target is None else index.domain == index.domains.index(target)
    given_test = tested & (known_label[index.label] >= 0) & (index.split == TEST)
    if test_fraction and given_test.any():
        raise DataError(
            f"split: test_fraction is {test_fraction}, and {index.root} has given test images; "
            "drop test_fraction"
        )
    given_val = candidates & (index.split == VAL)
    free = candidates & (index.split != VAL) & (index.split != TEST)
    _refuse_untrained(index, known_names, free, candidates & ~free)
    u = instance_hashes(index, seed)
    is_val = given_val.copy()
    from_train = 0.0 if given_val.any() else val_fraction
    if target is None:
        if test_fraction is None and share == 0 and not index.split.any():
            share = HELD_OUT
        share = share if test and not given_test.any() else 0.0
        is_test = given_test & test
        is_val[free], is_test[free] = held_out_parts(u[free], index.label[free], from_train, share)
        free &= ~is_test
        test_kind: TestKind = "held-out" if share > 0 or is_test.any() else "none"
    else:
        free &= u >= share
        is_val[free] = hashed_validation(u[free], index.label[free], from_train, share)
        is_test = tested & (known_label[index.label] >= 0)
        if given_test.any():
            is_test = given_test
        elif share > 0:
            is_test &= u < share
        test_kind = "unseen domain"
    of_unknown = label_map(index, unknown_names)[index.label] >= 0
    split = Split(
        known=known_names,
        unknown=unknown_names,
        sources=sources,
        target=target,
        train=_rows(free & ~is_val),
        val=_rows(is_val),
        target_known=_rows(is_test),
        target_unknown=_rows(tested & of_unknown & (test_kind != "none")),
        known_label=known_label,
        test_kind=test_kind,
    )
    refuse_empty_parts(index, split, val_fraction, share)
    return split


def source_domains(
    index: Index, target: str | None, wanted: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The wanted domains, or all but the target, in the order of the index.

    Raises DataError for a name that does not exist, or when none is left to train on.
    """
    if target is not None and target not in index.domains:
        raise DataError(
            f"split: target domain {target!r} is not in {index.root}, nor is it a folder; "
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
            "on; drop data.target to test on held-out images of it, or add a domain"
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


def _refuse_untrained(
    index: Index,
    known: Sequence[str],
    trainable: NDArray[np.bool_],
    given: NDArray[np.bool_],
) -> None:
    """Refuse known classes that a given split has for validation or test alone."""
    trained = set(index.label[trainable].tolist())
    elsewhere = set(index.label[given].tolist()) - trained
    names = [name for name in known if index.class_id(name) in elsewhere]
    if names:
        raise DataError(
            f"split: the given split of {index.root} has no training image of {', '.join(names)}, "
            "only images for validation or test; add some, or list them in data.unknown"
        )


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
    if split.test_kind == "unseen domain" and not len(split.target_known):
        raise DataError(
            f"split: target {split.target!r} has no test image of a known class {shares}; "
            f"add images or raise test_fraction"
        )
    if split.test_kind == "held-out" and not len(split.target_known):
        raise DataError(
            f"split: no known class of {index.root} has images enough to hold one out for the test "
            f"{shares}: that takes three; add images, or set test_fraction to 0"
        )
