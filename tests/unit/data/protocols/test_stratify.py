"""Every class on every side: by the hash with a target, by exact shares without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgedistill.data.index import NOT_GIVEN, TEST, TRAIN, VAL, Index
from edgedistill.data.protocols.split import Split, instance_hashes, make_split
from edgedistill.errors import DataError


def index_of(
    counts: dict[str, int], domains: tuple[str, ...] = ("photo",), unknown: tuple[str, ...] = ()
) -> Index:
    """Instances 0..n-1 of every class in every domain."""
    classes = tuple(sorted(counts))
    files = [
        (d, c, f"{domain}/{name}/{k}.png")
        for d, domain in enumerate(domains)
        for c, name in enumerate(classes)
        for k in range(counts[name])
    ]
    return Index(
        root=Path("/data"),
        domains=domains,
        classes=classes,
        paths=tuple(path for _, _, path in files),
        domain=np.array([d for d, _, _ in files], dtype=np.int64),
        label=np.array([c for _, c, _ in files], dtype=np.int64),
        names={c: (c,) for c in classes},
        unknown=unknown,
        test_fraction=0.0,
        problems=(),
    )


def with_split(index: Index, part: Callable[[str], int]) -> Index:
    """The index with a given split, by the file's stem."""
    return replace(
        index,
        split=np.array([part(PurePosixPath(path).stem) for path in index.paths], dtype=np.int8),
    )


def per_class(index: Index, rows: NDArray[np.int64]) -> list[int]:
    return np.bincount(index.label[rows], minlength=len(index.classes)).tolist()


def parts_of(split: Split) -> list[NDArray[np.int64]]:
    return [split.train, split.val, split.target_known, split.target_unknown]


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1).filter(
    lambda classes: max(classes.values()) >= 3
)


@given(counts, st.sampled_from([("x",), ("x", "y", "z")]), st.integers(0, 5))
def test_held_out_images_are_a_share_of_every_class(
    classes: dict[str, int], domains: tuple[str, ...], seed: int
) -> None:
    index = index_of(classes, domains)
    split = make_split(index, seed=seed)
    assert (split.test_kind, split.target, split.sources) == ("held-out", None, domains)
    rows = np.concatenate(parts_of(split))
    assert sorted(rows.tolist()) == list(range(len(index)))
    sides = [{index.paths[row].partition("/")[2] for row in part} for part in parts_of(split)]
    # An instance is on one side in all domains.
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    n = np.array([classes[name] for name in index.classes])
    train, val, test = (
        np.array(per_class(index, part)) / len(domains) for part in parts_of(split)[:3]
    )
    assert np.all(train >= 1)
    assert np.all((val >= 1) == (n >= 2))
    assert np.all((test >= 1) == (n >= 3))
    assert np.all(np.abs(test - 0.2 * n) <= 1)
    assert np.all(np.abs(val - 0.2 * (n - test)) <= 1)
    again = make_split(index, seed=seed)
    assert all(map(np.array_equal, parts_of(split), parts_of(again)))


@given(counts, st.integers(0, 5))
def test_with_a_target_no_class_is_on_one_side_alone(classes: dict[str, int], seed: int) -> None:
    index = index_of(classes | {"g": 20}, ("x", "y"))
    split = make_split(index, target="y", seed=seed)
    n = np.array([{**classes, "g": 20}[name] for name in index.classes])
    assert np.all(np.array(per_class(index, split.train)) >= 1)
    assert np.all((np.array(per_class(index, split.val)) >= 1) == (n >= 2))
    # Classes of which the hash has something on both sides are split by it.
    u = instance_hashes(index, seed)
    source = index.domain == 0
    for label in range(len(index.classes)):
        rows = np.flatnonzero(source & (index.label == label))
        by_hash = u[rows] < 0.2
        if 0 < by_hash.sum() < len(rows):
            assert np.array_equal(np.isin(rows, split.val), by_hash)


def test_shares_of_a_class_are_rounded() -> None:
    index = index_of({"few": 2, "many": 50, "one": 1, "some": 10})
    split = make_split(index, val_fraction=0.25, test_fraction=0.3)
    assert per_class(index, split.target_known) == [0, 15, 0, 3]
    assert per_class(index, split.val) == [1, 9, 0, 2]
    assert per_class(index, split.train) == [1, 26, 1, 5]


def test_all_images_of_unknown_classes_are_tested() -> None:
    index = index_of({"cat": 10, "dog": 10, "newt": 4}, ("x", "y"), unknown=("newt",))
    split = make_split(index)
    assert per_class(index, split.target_unknown) == [0, 0, 8]
    assert per_class(index, split.target_known) == [4, 4, 0]


def test_without_a_share_nothing_is_tested() -> None:
    index = index_of({"cat": 10, "newt": 4}, unknown=("newt",))
    split = make_split(index, test_fraction=0)
    assert split.test_kind == "none"
    assert len(split.target_known) == len(split.target_unknown) == 0
    assert len(split.train) + len(split.val) == 10


def test_too_few_images_to_hold_one_out_are_refused() -> None:
    with raises(DataError, "test_fraction"):
        make_split(index_of({"cat": 2, "dog": 2}))


def test_instances_in_different_folders_are_told_apart() -> None:
    index = index_of({"cat": 8})
    paths = tuple(f"camera{number}/frame.png" for number in range(8))
    split = make_split(replace(index, paths=paths))
    assert [len(part) for part in parts_of(split)] == [5, 1, 2, 0]


def given_part(stem: str) -> int:
    number = int(stem)
    return TEST if number < 3 else VAL if number < 5 else TRAIN


@pytest.mark.parametrize("target", [None, "y"])
def test_a_given_split_is_kept(target: str | None) -> None:
    index = with_split(index_of({"cat": 10, "dog": 12}, ("x", "y")), given_part)
    split = make_split(index, target=target)
    assert set(index.split[split.train]) == {TRAIN}
    assert set(index.split[split.val]) == {VAL}
    assert set(index.split[split.target_known]) == {TEST}
    sources = 1 if target else 2
    assert [len(part) for part in parts_of(split)] == [12 * sources, 4 * sources, 6 * sources, 0]


def test_what_is_not_given_is_taken_from_training() -> None:
    index = index_of({"cat": 20, "dog": 20})
    no_val = with_split(index, lambda stem: TEST if int(stem) < 5 else TRAIN)
    split = make_split(no_val)
    assert (per_class(index, split.val), per_class(index, split.train)) == ([3, 3], [12, 12])
    no_test = with_split(index, lambda stem: VAL if int(stem) < 5 else TRAIN)
    assert make_split(no_test).test_kind == "none"
    split = make_split(no_test, test_fraction=0.2)
    assert (split.test_kind, per_class(index, split.target_known)) == ("held-out", [3, 3])
    assert set(no_test.split[split.target_known]) == {TRAIN}
    assert per_class(index, split.val) == [5, 5]


def test_given_test_images_of_the_sources_are_not_trained_on() -> None:
    index = with_split(
        index_of({"cat": 10, "dog": 10}, ("x", "y")), lambda s: TEST if int(s) < 3 else TRAIN
    )
    for split in (make_split(index, target="y"), make_split(index, test=False)):
        assert not np.isin(np.flatnonzero(index.split == TEST), split.train).any()
        assert not np.isin(np.flatnonzero(index.split == TEST), split.val).any()
    assert make_split(index, test=False).test_kind == "none"


@pytest.mark.parametrize("target", [None, "y"])
def test_a_share_beside_given_test_images_is_refused(target: str | None) -> None:
    index = with_split(index_of({"cat": 10}, ("x", "y")), given_part)
    with raises(DataError, "test_fraction", "/data"):
        make_split(index, target=target, test_fraction=0.1)


def test_classes_given_for_validation_or_test_only_are_named() -> None:
    index = index_of({"cat": 10, "dog": 10, "eel": 3, "fox": 3})
    given_index = with_split(index, given_part)
    of_eel_and_fox = given_index.label >= 2
    given_index = replace(
        given_index, split=np.where(of_eel_and_fox, TEST, given_index.split).astype(np.int8)
    )
    with raises(DataError, "eel, fox", "data.unknown"):
        make_split(given_index)
    split = make_split(given_index, unknown=["eel", "fox"])
    assert per_class(index, split.target_unknown) == [0, 0, 3, 3]


@given(
    st.lists(st.sampled_from([NOT_GIVEN, TRAIN, VAL, TEST]), min_size=24, max_size=24),
    st.sampled_from([None, "y"]),
    st.booleans(),
)
def test_given_parts_never_mix(parts: list[int], target: str | None, test: bool) -> None:
    # The first instances are given for training, so that every class is trained on.
    index = with_split(
        index_of({"a": 26, "b": 26, "newt": 4}, ("x", "y"), unknown=("newt",)),
        lambda stem: [TRAIN, TRAIN, *parts][int(stem)],
    )
    split = make_split(index, target=target, test=test)
    rows = np.concatenate(parts_of(split))
    assert len(np.unique(rows)) == len(rows)
    given = {
        part: set(index.split[rows].tolist())
        for part, rows in zip(("train", "val", "test"), parts_of(split)[:3], strict=True)
    }
    assert given["train"] <= {NOT_GIVEN, TRAIN}
    assert given["val"] == {VAL} if VAL in parts else given["val"] <= {NOT_GIVEN, TRAIN}
    if target is None and test:
        assert given["test"] == ({TEST} if TEST in parts else set())
        assert (split.test_kind == "held-out") == (TEST in parts)
    elif target is None:
        assert split.test_kind == "none" and not given["test"]
    else:
        assert given["test"] == ({TEST} if TEST in parts else {TRAIN, *parts})
