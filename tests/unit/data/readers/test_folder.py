import json
from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.data.datasets import load_dataset
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import DataError


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        # Reading a folder lists files, so their content is never looked at.
        (root / path).write_bytes(b"")
    return root


def test_tree_is_listed_sorted_and_filtered(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        "photo/dog/b.JPG",
        "photo/dog/a.png",
        "photo/dog/.hidden.png",
        "photo/dog/notes.txt",
        "photo/big_cat/c.webp",
        "art/dog/x.tiff",
        "art/dog/Thumbs.db",
        ".git/dog/y.png",
        "__MACOSX/photo/z.png",
        "readme.png.txt",
    )
    index = read_folder(root)
    assert index.domains == ("art", "photo")
    assert index.classes == ("big_cat", "dog")
    assert index.paths == (
        "art/dog/x.tiff",
        "photo/big_cat/c.webp",
        "photo/dog/a.png",
        "photo/dog/b.JPG",
    )
    assert np.array_equal(index.domain, [0, 1, 1, 1])
    assert np.array_equal(index.label, [1, 0, 1, 1])
    assert index.names == {"big_cat": ("big cat",), "dog": ("dog",)}
    assert (index.unknown, index.test_fraction, index.problems) == ((), 0.0, ())
    assert index.path(0) == root / "art/dog/x.tiff"


def test_description_is_honoured_and_names_override_it(tmp_path: Path) -> None:
    root = put(tmp_path, "a/cat/1.png", "b/dog/1.png", "c/cat/2.png")
    description = {
        "domains": ["c", "a"],
        "names": {"cat": ["cat", "kitten"], "dog": ["dog", "hound"]},
        "unknown": ["dog"],
        "test_fraction": 0.25,
    }
    (root / "edgedistill.json").write_text(json.dumps(description))
    index = read_folder(root, names={"dog": ["puppy"]})
    assert index.domains == ("c", "a", "b")
    assert index.paths[0] == "c/cat/2.png"
    assert index.names == {"cat": ("cat", "kitten"), "dog": ("puppy",)}
    assert index.unknown == ("dog",)
    assert index.test_fraction == 0.25


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ('{"nmes": {}}', ["edgedistill.json", "nmes", "'names'"]),
        ('{"test_fraction": 1.5}', ["edgedistill.json", "test_fraction", 1]),
        ('{"unknown": ["ct"]}', ["'ct'", "'cat'"]),
        ('{"domains": ["z"]}', ["edgedistill.json", "domain 'z'", "a"]),
        ("{", ["edgedistill.json"]),
    ],
)
def test_description_errors(tmp_path: Path, text: str, culprits: list[str | int]) -> None:
    put(tmp_path, "a/cat/1.png")
    (tmp_path / "edgedistill.json").write_text(text)
    with raises(DataError, tmp_path, *culprits):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("paths", "culprits"),
    [
        ([], ["empty"]),
        (["1.png"], ["two levels", "domain/class/file"]),
        (["dog/1.png", "dog/2.png"], ["one level", "domain/class/file"]),
        (["data/photo/dog/1.png"], ["data/photo/dog/1.png"]),
        (["photo/dog/1.png", "art/dog/notes.txt"], ["domain 'art'", "image"]),
    ],
)
def test_wrong_layouts(tmp_path: Path, paths: list[str], culprits: list[str]) -> None:
    put(tmp_path, *paths)
    with raises(DataError, tmp_path, *culprits):
        read_folder(tmp_path)


def test_missing_root_and_file_as_root(tmp_path: Path) -> None:
    with raises(DataError, tmp_path / "no"):
        read_folder(tmp_path / "no")
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    with raises(DataError, tmp_path / "a.png", "file"):
        read_folder(tmp_path / "a.png")
    with raises(DataError, "'emojis'", "emoji"):
        load_dataset("emojis")


def test_unknown_class_in_names(tmp_path: Path) -> None:
    put(tmp_path, "a/cat/1.png")
    with raises(DataError, tmp_path, "class 'cats'", "'cat'"):
        read_folder(tmp_path, names={"cats": ["x"]})


def test_load_dataset_reads_a_folder(tmp_path: Path) -> None:
    assert load_dataset(str(put(tmp_path, "a/cat/1.png"))).classes == ("cat",)
