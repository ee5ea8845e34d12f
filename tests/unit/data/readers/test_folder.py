import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.data.datasets import load_dataset
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
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
    assert index.omitted == (
        "files whose suffix is no image format's: 1 (photo/dog/notes.txt)",
        "system folders: 1 (__MACOSX)",
    )
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


def test_the_description_says_what_of_a_file_s_name_is_the_instance(tmp_path: Path) -> None:
    put(tmp_path, "a/cat/clip7#1.jpg", "a/cat/clip7#2.jpg", "a/cat/clip8.jpg")
    assert len({read_folder(tmp_path).instance(row) for row in range(3)}) == 3
    (tmp_path / "edgedistill.json").write_text('{"instance_separator": "#"}')
    index = read_folder(tmp_path)
    assert [index.instance(row) for row in range(3)] == ["clip7", "clip7", "clip8"]


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


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9", r"caf\udce9"),
        (b"two\nlines", r"two\nlines"),
        ("a\u2028b".encode(), r"a\u2028b"),
    ],
)
@pytest.mark.parametrize("tree", ["a/{}/1.png", "{}/cat/1.png"])
def test_folder_names_that_no_table_could_show(
    tmp_path: Path, tree: str, name: bytes, shown: str
) -> None:
    put(tmp_path, tree.format(os.fsdecode(name)))
    with raises(DataError, shown):
        load_dataset(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_files_may_have_any_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n1.png")
    index = load_dataset(put(tmp_path, f"a/cat/{name}", "a/cat/2.png"))
    assert index.paths == ("a/cat/2.png", f"a/cat/{name}")
    # Empty files: the store, and what it writes down about them, are of interest.
    problems = open_store(index, 8, cache=tmp_path / "cache").problems()
    assert len(problems) == 2 and any(name in line for line in problems)


@pytest.mark.parametrize("name", ["犬", "کتاب‌خانه", "café", "disc [old]"])
def test_class_names_of_any_language(tmp_path: Path, name: str) -> None:
    assert load_dataset(put(tmp_path, f"a/{name}/1.png")).classes == (name,)


def test_what_the_listing_leaves_out_is_counted_by_reason(tmp_path: Path) -> None:
    root = put(
        tmp_path,
        *(f"photo/disc/day{day}/{number}.png" for day in (1, 2) for number in range(2)),
        "photo/box/1.png",
        "photo/box/raw/deep/2.png",
        "photo/box/@eaDir/1.png/thumb.jpg",
        "photo/box/a.psd.txt",
        "photo/loose.png",
        "@eaDir/photo/1.png",
        "LICENSE",
    )
    (root / "photo/bar").mkdir()
    (root / "photo/bar/gone.png").symlink_to(root / "nowhere.png")
    (root / "photo/bar/loop").symlink_to("loop")
    (root / "photo/box/up").symlink_to(root / "photo")
    (root / "photo/loop").symlink_to("loop")
    (root / "gone").symlink_to("nowhere")
    index = load_dataset(root)
    assert (index.domains, index.classes, index.paths) == (
        ("photo",),
        ("box",),
        ("photo/box/1.png",),
    )
    omitted = dict(line.split(": ") for line in index.omitted)
    assert {reason: int(count.split()[0]) for reason, count in omitted.items()} == {
        "images in deeper folders": 5,
        "images above the class folders": 1,
        "files whose suffix is no image format's": 1,
        "links that lead nowhere or in a circle": 4,
        "links to folders": 1,
        "class folders without an image": 2,
        "system folders": 2,
    }
    assert "photo/bar, photo/disc" in omitted["class folders without an image"]


def test_a_folder_without_leftovers_says_nothing(tmp_path: Path) -> None:
    root = put(tmp_path, "a/cat/1.png", "a/cat/.DS_Store", "a/cat/Thumbs.db", "a/cat/desktop.ini")
    (root / "a/linked").symlink_to(root / "a/cat")
    index = load_dataset(root)
    assert (index.classes, index.omitted) == (("cat", "linked"), ())


@pytest.mark.parametrize(
    "suffix",
    [
        "jfif",
        "jpe",
        "pgm",
        "pbm",
        "pnm",
        "jp2",
        "j2k",
        "tga",
        "ico",
        "qoi",
        "pcx",
        "dib",
        "sgi",
        "apng",
        "MPO",
        "JFIF",
    ],
)
def test_every_still_format_of_pillow_is_listed(tmp_path: Path, suffix: str) -> None:
    assert len(load_dataset(put(tmp_path, f"a/cat/1.{suffix}"))) == 1


@pytest.mark.parametrize("suffix", ["pdf", "h5", "hdf", "mpg", "eps", "wmf", "txt", "json"])
def test_what_pillow_does_not_decode_is_not(tmp_path: Path, suffix: str) -> None:
    index = load_dataset(put(tmp_path, "a/cat/1.png", f"a/cat/2.{suffix}"))
    assert len(index) == 1
    assert index.omitted == (f"files whose suffix is no image format's: 1 (a/cat/2.{suffix})",)
