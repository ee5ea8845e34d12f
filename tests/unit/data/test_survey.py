"""A dataset before a recipe: classes that are of nothing, sizes, copies."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedistill.data.datasets import load_dataset
from edgedistill.data.protocols.split import make_split
from edgedistill.data.store.image_store import open_store
from edgedistill.data.survey import find_copies, likely_unknown, shorter_sides

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("classes", "unknown"),
    [
        (("cat", "dog", "other"), ("other",)),
        (("Background", "cat", "dog", "_unknown"), ("Background", "_unknown")),
        (("cat", "dog", "out-of-distribution"), ("out-of-distribution",)),
        (("a", "b", "negative"), ("negative",)),
        (("a", "negative", "positive"), ()),
        (("cat", "other"), ()),
        (("another", "cat", "mother"), ()),
    ],
)
def test_classes_of_nothing_in_particular(classes: tuple[str, ...], unknown: tuple[str]) -> None:
    assert likely_unknown(classes) == unknown


def noise(path: Path, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Two classes with a given split: 6 training and 2 validation images of each."""
    root = tmp_path / "animals"
    for name in ("cat", "dog"):
        for number in range(6):
            noise(root / "train" / name / f"{name}{number}.png")
        for number in range(2):
            noise(root / "val" / name / f"v{number}.png")
    return root


def copies_of(root: Path) -> tuple[int, int, int, tuple[str, str] | None]:
    index = load_dataset(root)
    copies = find_copies(index, open_store(index, 32), make_split(index))
    return copies.repeated, copies.across, copies.conflicting, copies.example


def test_different_images_are_no_copies(animals: Path) -> None:
    assert copies_of(animals) == (0, 0, 0, None)


def test_copies_are_counted_within_across_the_split_and_across_classes(animals: Path) -> None:
    train = animals / "train"
    shutil.copy(train / "cat" / "cat0.png", train / "cat" / "again.png")
    assert copies_of(animals) == (1, 0, 0, ("train/cat/again.png", "train/cat/cat0.png"))
    shutil.copy(train / "dog" / "dog1.png", animals / "val" / "dog" / "seen.png")
    repeated, across, conflicting, example = copies_of(animals)
    assert (repeated, across, conflicting) == (2, 1, 0)
    assert example == ("train/dog/dog1.png", "val/dog/seen.png")
    # In another format: what counts is the pixels.
    with Image.open(train / "cat" / "cat2.png") as image:
        image.save(train / "dog" / "cat.bmp")
    repeated, across, conflicting, example = copies_of(animals)
    assert (repeated, across, conflicting) == (3, 1, 1)
    assert example == ("train/cat/cat2.png", "train/dog/cat.bmp")


def test_sizes_are_those_of_the_files_that_open(animals: Path) -> None:
    noise(animals / "train" / "cat" / "wide.png", (90, 7))
    (animals / "train" / "dog" / "broken.png").write_bytes(b"no image")
    sides = shorter_sides(load_dataset(animals))
    assert sorted(set(sides.tolist())) == [7, 20] and len(sides) == 17
