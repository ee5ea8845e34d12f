"""The images of a pretraining: which are listed, and which are held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.errors import DataError, RecipeError
from edgedistill.pretraining.images import MOST_HELD_OUT, hold_out, list_images, part_of
from edgedistill.teacher.vocabulary import read_words


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("flat/a.png", "flat/b.png", "deep/x/y/c.png", "deep/x/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def test_flat_and_nested_folders_are_one_list(folders: Path) -> None:
    index = list_images([str(folders / "flat"), str(folders / "deep")])
    assert sorted(index.paths) == ["deep/x/d.png", "deep/x/y/c.png", "flat/a.png", "flat/b.png"]
    assert all(index.path(row).is_file() for row in range(len(index)))
    assert set(index.label.tolist()) == {-1} and set(index.domain.tolist()) == {0}


def test_an_image_below_two_folders_is_listed_once(folders: Path) -> None:
    index = list_images([str(folders / "deep/x"), str(folders / "deep"), str(folders / "deep")])
    assert sorted(index.paths) == ["x/d.png", "x/y/c.png"]


def test_what_is_no_image_is_counted(folders: Path) -> None:
    (folders / "flat/notes.txt").write_text("x")
    (line,) = list_images([str(folders / "flat")]).omitted
    assert "notes.txt" in line and str(folders / "flat") in line


def test_folders_that_give_nothing_are_refused(folders: Path) -> None:
    (folders / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with raises(DataError, "data.images", folders / name):
            list_images([str(folders / name)])
    with raises(DataError, "data.images"):
        list_images([str(folders / "deep/x/y")])


def test_the_held_out_images_are_the_same_ones_in_any_order(folders: Path) -> None:
    for number in range(40):
        Image.new("RGB", (4, 4)).save(folders / f"flat/{number}.png")
    index = list_images([str(folders / "flat"), str(folders / "deep")])
    train, held_out = hold_out(index, 0.25)
    assert len(held_out) == 11
    assert sorted([*train, *held_out]) == list(range(len(index)))
    other = list_images([str(folders / "deep"), str(folders / "flat")])
    assert {other.paths[r] for r in hold_out(other, 0.25)[1]} == {index.paths[r] for r in held_out}
    assert part_of(index, held_out).paths == tuple(index.paths[row] for row in held_out)


def test_one_image_at_least_is_on_either_side(folders: Path) -> None:
    index = list_images([str(folders / "flat")])
    for share in (0.001, 0.999):
        train, held_out = hold_out(index, share)
        assert (len(train), len(held_out)) == (1, 1)


def test_of_very_many_images_a_fixed_number_is_held_out(folders: Path) -> None:
    index = part_of(list_images([str(folders / "flat")]), np.zeros(3 * MOST_HELD_OUT, np.int64))
    assert len(hold_out(index, 0.9)[1]) == MOST_HELD_OUT


def test_a_file_of_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("﻿cat\r\n\n# beasts\n  sea lion # wet\ncat\n", encoding="utf-8")
    assert read_words(file, "loss.words") == ["cat", "sea lion"]
    file.write_text("cat\n")
    with raises(RecipeError, "loss.words", file):
        read_words(file, "loss.words")
    with raises(RecipeError, "loss.words", tmp_path / "none.txt"):
        read_words(tmp_path / "none.txt", "loss.words")
