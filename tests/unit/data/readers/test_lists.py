"""Image lists of own datasets: domains, parts, labels and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from culprits import raises

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import TEST, TRAIN, VAL, Index
from edgedistill.data.layouts import detect_layout
from edgedistill.errors import DataError


def put(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"")
    return root


def write(folder: Path, **lists: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def entries(index: Index) -> set[tuple[str, str, str, int]]:
    return {
        (
            index.paths[row],
            index.domains[index.domain[row]],
            index.classes[index.label[row]],
            int(index.split[row]),
        )
        for row in range(len(index))
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    names = [f"{d}/{c}/{k}.png" for d in ("art", "big photo") for c in ("cat", "dog") for k in "12"]
    return put(tmp_path / "images", *names)


def test_lists_as_those_of_pacs(images: Path, tmp_path: Path) -> None:
    """The test list of a domain has all images of its other two."""
    lists = {}
    for domain, name in (("art", "art"), ("big photo", "big_photo")):
        train = [f"{domain}/cat/1.png 1", f"{domain}/dog/1.png 2"]
        val = [f"{domain}/cat/2.png 1", f"{domain}/dog/2.png 2"]
        lists |= {
            f"{name}_train_kfold": train,
            f"{name}_crossval_kfold": val,
            f"{name}_test_kfold": train + val,
        }
    folder = write(tmp_path / "lists", **lists)
    index = load_dataset(folder, images)
    assert (index.domains, index.classes) == (("art", "big_photo"), ("cat", "dog"))
    assert ("big photo/dog/2.png", "big_photo", "dog", VAL) in entries(index)
    assert index.split.tolist() == [TRAIN, VAL] * 4
    layout = detect_layout(folder, images)
    assert (layout.kind, layout.splits) == ("lists", ("train", "val"))


def test_lists_without_domains_take_those_of_the_paths(images: Path) -> None:
    paths = ["art/cat/1.png", "big photo/dog/1.png"]
    write(images.parent, pacs_train=[f"images/{path} {path[4:7]}" for path in paths[:1]])
    write(images.parent, pacs_test=["images/big photo/cat/1.png cat"])
    index = load_dataset(images.parent, layout="lists")
    assert entries(index) == {
        ("images/art/cat/1.png", "art", "cat", TRAIN),
        ("images/big photo/cat/1.png", "big photo", "cat", TEST),
    }


def test_lists_of_one_domain(tmp_path: Path) -> None:
    put(tmp_path / "shots", "x1.png", "x2.png", "x3.png")
    lines = {"train": ["x1.png car", "x2.png bus", "x2.png bus"], "val": ["x3.png car"]}
    folder = write(tmp_path / "shots" / "lists", **lines)
    index = load_dataset(folder, layout="lists")
    # Paths start from the folder above, where the images are.
    assert entries(index) == {
        ("x1.png", "shots", "car", TRAIN),
        ("x2.png", "shots", "bus", TRAIN),
        ("x3.png", "shots", "car", VAL),
    }
    assert len(index.omitted) == 1 and "train.txt: line 3" in index.omitted[0]


@pytest.mark.parametrize("text", ["car\nbus\n", "0 car\n1 bus\n", "car 0\nbus 1\n"])
def test_numbers_are_named_by_a_file(tmp_path: Path, text: str) -> None:
    write(put(tmp_path, "x1.png", "x2.png"), train=["x1.png 0", "x2.png 1"])
    (tmp_path / "classes.txt").write_text(text)
    index = load_dataset(tmp_path, layout="lists")
    assert {(path, name) for path, _, name, _ in entries(index)} == {
        ("x1.png", "car"),
        ("x2.png", "bus"),
    }


def test_numbers_without_names_stay_numbers(tmp_path: Path) -> None:
    write(put(tmp_path, "x1.png", "x2.png"), train=["x1.png 10", "x2.png 9"])
    assert load_dataset(tmp_path, layout="lists").classes == ("9", "10")


@pytest.mark.parametrize(
    ("lists", "culprits"),
    [
        ({}, ["train.txt"]),
        ({"train": []}, ["empty"]),
        ({"train": ["x1.png"]}, ["train.txt", "line 1", "x1.png"]),
        ({"train": ["x1.png a", "x9.png a"]}, [1, "train.txt: line 2", "x9.png", "data.root"]),
        ({"train": ["x1.png a", "x1.png b"]}, ["train.txt: line 2", "x1.png", "'a'", "'b'"]),
        (
            {"train": ["x1.png a", "x2.png a"], "val": ["x2.png a"]},
            ["val.txt: line 1", "x2.png", "train.txt: line 2"],
        ),
        ({"train": ["x1.png 0", "x2.png 7"], "classes": ["car"]}, ["classes.txt", 7]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, lists: dict[str, list[str]], culprits: list[str | int]
) -> None:
    write(put(tmp_path, "x1.png", "x2.png"), **lists)
    with raises(DataError, tmp_path, *culprits):
        load_dataset(tmp_path, layout="lists")


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    write(put(tmp_path, "x1.png"), train=["x1.png a"])
    with raises(DataError, "data.root", tmp_path / "no"):
        load_dataset(tmp_path, tmp_path / "no", layout="lists")
