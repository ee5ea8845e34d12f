"""The identity of a run's images: the same for the same, and in words what is different."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedistill.data.identity import ImageIdentity, describe_changes, identify_images
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.store.image_store import open_store
from edgedistill.recipe.schema import DataSection


@pytest.fixture
def root(shapes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / "data"))


def identity_of(root: Path, cache: Path, **more: Any) -> ImageIdentity:
    dataset = resolve_split(DataSection(dataset=str(root), target="sea", **more))
    store = open_store(dataset.index, 8, cache)
    return identify_images(dataset, dataset.split.train, dataset.split.val, store.hashes)


def without_paths(identity: ImageIdentity) -> ImageIdentity:
    """As it is read back from a run."""
    return replace(identity, paths=())


def test_the_same_images_elsewhere_are_the_same(root: Path, tmp_path: Path) -> None:
    before = without_paths(identity_of(root, tmp_path / "cache"))
    moved = root.rename(tmp_path / "moved")
    assert describe_changes(before, identity_of(moved, tmp_path / "cache")) is None


def test_every_kind_of_change_is_counted_and_named(root: Path, tmp_path: Path) -> None:
    before = without_paths(identity_of(root, tmp_path / "cache"))
    Image.new("RGB", (40, 40), "red").save(root / "night" / "star" / "05.png")
    Image.new("RGB", (40, 40), "red").save(root / "paint" / "cross" / "new.png")
    for number in range(3):
        (root / "paper" / "square" / f"{number:02d}.png").unlink()
    text = describe_changes(before, identity_of(root, tmp_path / "cache"))
    assert text is not None
    assert text.split(", ") == [
        "1 added (first paint/cross/new.png)",
        "1 with other pixels (first night/star/05.png)",
        "3 gone",
    ]


def test_another_split_of_the_same_images_is_a_change(root: Path, tmp_path: Path) -> None:
    before = without_paths(identity_of(root, tmp_path / "cache"))
    text = describe_changes(before, identity_of(root, tmp_path / "cache", split_seed=1))
    assert text is not None and "another side of the split" in text
    assert "added" not in text and "pixels" not in text


def test_with_the_digest_alone_a_change_is_still_seen(root: Path, tmp_path: Path) -> None:
    now = identity_of(root, tmp_path / "cache")
    assert describe_changes(ImageIdentity(now.digest), now) is None
    assert describe_changes(ImageIdentity("0" * 32), now)


def test_the_digest_follows_order_labels_and_pixels() -> None:
    assert now_digest([0, 1], [2]) == now_digest([0, 1], [2])
    others = {
        now_digest([0, 1], [2]),
        now_digest([1, 0], [2]),
        now_digest([0, 1], [3]),
        now_digest([0, 1], [2], first=9),
    }
    assert len(others) == 4


def now_digest(train: list[int], val: list[int], first: int = 5) -> str:
    class Index:
        paths = ("a", "b", "c", "d")
        label = np.array([0, 1, 0, 1])

    class Split:
        known_label = np.array([0, 1])

    class Dataset:
        index, split = Index, Split

    hashes = np.array([first, 6, 7, 8], np.uint64)
    dataset: Any = Dataset
    return identify_images(dataset, np.array(train), np.array(val), hashes).digest
