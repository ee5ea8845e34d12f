"""Image files that paths, folders and glob patterns stand for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from culprits import raises

from edgedistill.errors import DataError
from edgedistill.runtime.find import find_images


def test_folders_globs_and_files_in_their_order(photos: Path) -> None:
    names = sorted(p.name for p in photos.iterdir())
    sources = [photos, photos / "red.png", str(photos / "*.webp")]
    paths = list(find_images(sources, on_problem=pytest.fail, on_omission=pytest.fail))
    assert [Path(path).name for path in paths] == [*names, "red.png", "blue.webp"]


def test_a_source_without_images_is_raised_or_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with raises(DataError, str(tmp_path)):
        list(find_images([tmp_path]))
    problems: list[str] = []
    assert list(find_images([tmp_path, "no-*.png"], on_problem=problems.append)) == []
    assert len(problems) == 2 and "notes.txt" in problems[0] and "no-*.png" in problems[1]


def test_what_a_folder_leaves_out_is_counted(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    os.symlink(photos / "red.png", folder / "red.png")
    (folder / "notes.txt").write_text("no image")
    omissions: list[str] = []
    paths = list(find_images([folder], on_omission=omissions.append))
    assert [Path(path).name for path in paths] == ["red.png"]
    assert len(omissions) == 1 and "notes.txt" in omissions[0]
