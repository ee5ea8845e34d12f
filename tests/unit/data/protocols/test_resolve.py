"""Targets of a recipe: a domain, its folder, a folder without classes, none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises

from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection


def put(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = [f"{d}/{c}/{k}.png" for d in ("art", "photo") for c in ("cat", "dog") for k in range(9)]
    return put(tmp_path / "data", *names)


def section(data: Path, **values: Any) -> DataSection:
    return DataSection(dataset=str(data), **values)


def test_a_target_may_be_called_by_its_folder(data: Path) -> None:
    by_name = resolve_split(section(data, target="art"))
    by_folder = resolve_split(section(data, target=str(data / "art") + "/"))
    assert by_folder.split.target == "art"
    assert by_folder.split.test_kind == "unseen domain"
    assert np.array_equal(by_folder.target, by_name.target)


def test_a_folder_without_classes_is_an_index_of_its_own(data: Path, tmp_path: Path) -> None:
    files = ("b.png", "a/2.jpg", "a/deep/1.png", "a/notes.txt", ".hidden/3.png")
    target = put(tmp_path / "new", *files)
    dataset = resolve_split(section(data, target=str(target)))
    split, unlabelled = dataset.split, dataset.unlabelled
    assert isinstance(unlabelled, Index)
    assert (split.target, split.test_kind, split.sources) == ("new", "unlabelled", ("art", "photo"))
    assert len(dataset.target) == len(split.target_known) == len(split.target_unknown) == 0
    assert len(split.train) + len(split.val) == 36
    assert unlabelled.paths == ("b.png", "a/2.jpg", "a/deep/1.png")
    assert (unlabelled.classes, unlabelled.domains) == ((), ("new",))
    assert unlabelled.label.tolist() == [-1, -1, -1]
    assert unlabelled.path(1) == target / "a" / "2.jpg"
    assert len(unlabelled.omitted) == 1 and "a/notes.txt" in unlabelled.omitted[0]


def test_without_a_target_images_of_all_domains_are_held_out(data: Path) -> None:
    dataset = resolve_split(section(data))
    assert dataset.split.test_kind == "held-out"
    assert set(dataset.index.domain[dataset.target]) == {0, 1}
    assert dataset.unlabelled is None


@pytest.mark.parametrize(
    ("target", "values", "culprits"),
    [
        ("nowhere", {}, ["target domain 'nowhere'", "folder", "art, photo"]),
        ("empty", {}, ["data.target", "no image"]),
        ("new", {"test_fraction": 0.5}, ["data.test_fraction", "new"]),
        ("new", {"protocol": "domainbed"}, ["data.target", "new", "'domainbed'", "art, photo"]),
        ("data/art/cat", {}, ["data.target", 9, "0.png"]),
        (".", {}, ["data.target", 36]),
    ],
)
def test_a_target_that_cannot_be_is_refused(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    values: dict[str, Any],
    culprits: list[str],
) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "new", "1.png")
    monkeypatch.chdir(tmp_path)
    with raises(DataError, *culprits):
        resolve_split(section(data, target=target, **values))
