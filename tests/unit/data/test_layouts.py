"""Every layout that people have, told apart by the names and depths of folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import NOT_GIVEN, TEST, TRAIN, VAL, Index
from edgedistill.data.layouts import detect_layout
from edgedistill.errors import DataError


def put(root: Path, *files: str, text: str = "") -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return root


def entries(index: Index) -> set[tuple[str, str, str, int]]:
    """Path, domain, class and part of every image."""
    return {
        (
            index.paths[row],
            index.domains[index.domain[row]],
            index.classes[index.label[row]],
            int(index.split[row]),
        )
        for row in range(len(index))
    }


def test_folders_of_domains_and_classes(tmp_path: Path) -> None:
    put(tmp_path, "art/cat/1.png", "photo/dog/2.png")
    layout = detect_layout(tmp_path)
    assert (layout.kind, layout.domains, layout.classes, layout.splits) == (
        "domain/class",
        ("art", "photo"),
        ("cat", "dog"),
        (),
    )
    assert entries(load_dataset(tmp_path)) == {
        ("art/cat/1.png", "art", "cat", NOT_GIVEN),
        ("photo/dog/2.png", "photo", "dog", NOT_GIVEN),
    }


def test_folders_of_classes_are_one_domain(tmp_path: Path) -> None:
    root = put(tmp_path / "photos", "cat/1.png", "cat/raw/2.png", "dog/3.png", "newt/notes.txt")
    put(root, "edgedistill.json", text='{"unknown": ["dog"], "names": {"cat": ["kitten"]}}')
    layout = detect_layout(root)
    assert (layout.kind, layout.domains, layout.classes) == ("class", ("photos",), ("cat", "dog"))
    index = load_dataset(root)
    assert entries(index) == {
        ("cat/1.png", "photos", "cat", NOT_GIVEN),
        ("dog/3.png", "photos", "dog", NOT_GIVEN),
    }
    assert (index.unknown, index.names["cat"]) == (("dog",), ("kitten",))
    assert any("deeper" in line and "cat/raw/2.png" in line for line in index.omitted)


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_a_given_split_of_classes(tmp_path: Path, val: str) -> None:
    root = put(tmp_path / "p", "train/cat/1.png", f"{val}/cat/2.png", "test/dog/3.png")
    layout = detect_layout(root)
    assert (layout.kind, layout.domains) == ("split/class", ("p",))
    assert layout.splits == ("train", "val", "test")
    assert entries(load_dataset(root)) == {
        ("train/cat/1.png", "p", "cat", TRAIN),
        (f"{val}/cat/2.png", "p", "cat", VAL),
        ("test/dog/3.png", "p", "dog", TEST),
    }


def test_a_given_split_of_domains(tmp_path: Path) -> None:
    root = put(tmp_path, "train/art/cat/1.png", "test/art/cat/2.png", "train/photo/dog/3.png")
    layout = detect_layout(root)
    assert (layout.kind, layout.domains) == ("split/domain/class", ("art", "photo"))
    assert layout.splits == ("train", "test")
    assert entries(load_dataset(root)) == {
        ("train/art/cat/1.png", "art", "cat", TRAIN),
        ("test/art/cat/2.png", "art", "cat", TEST),
        ("train/photo/dog/3.png", "photo", "dog", TRAIN),
    }


def test_folders_beside_those_of_a_split_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "test/cat/2.png", "Annotations/boxes/1.xml", "notes/a.md")
    index = load_dataset(tmp_path)
    assert index.split.tolist() == [TRAIN, TEST]
    assert len(index.omitted) == 1 and "2 (Annotations, notes)" in index.omitted[0]


def test_a_layout_that_is_named_wins(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "test/cat/2.png")
    index = load_dataset(tmp_path, layout="domain/class")
    assert index.domains == ("test", "train") and not index.split.any()
    with raises(DataError, "split", "art", "data.layout"):
        load_dataset(put(tmp_path / "b", "art/cat/1.png"), layout="split/class")


def test_a_description_that_names_domains_says_the_layout(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.png", "test/cat/2.png")
    (tmp_path / "edgedistill.json").write_text(json.dumps({"domains": ["train", "test"]}))
    assert load_dataset(tmp_path).domains == ("train", "test")


def test_lists_beside_folders_are_counted_as_not_read(tmp_path: Path) -> None:
    put(tmp_path, "real/cat/1.png", "real_train.txt", "README.txt")
    index = load_dataset(tmp_path)
    assert index.domains == ("real",)
    assert len(index.omitted) == 1 and "real_train.txt" in index.omitted[0]


@pytest.mark.parametrize(
    ("files", "culprits"),
    [
        ([], ["empty"]),
        (["1.png"], ["directly", "class/image"]),
        (["cat/1.png", "dog/young/2.png"], ["cat", "dog", "data.layout"]),
        (["train/cat/1.png", "test/2.png"], ["test", "train", "data.target"]),
        (["test/cat/1.png", "val/cat/2.png"], ["test, val", "train"]),
        (["train/cat/1.png", "val/cat/2.png", "valid/cat/2.png"], ["'val'", "'valid'"]),
        (["train/cat/1.png", "val/art/cat/2.png"], ["train/cat", "val/art"]),
        (["art/train/cat/1.png", "art/test/cat/2.png"], ["art", "split", "csv"]),
        (["a/b/c/d/1.png"], ["a/b/c/d/1.png"]),
        (["labels.csv"], ["labels.csv"]),
    ],
)
def test_what_can_be_read_in_no_way_or_in_two_is_refused(
    tmp_path: Path, files: list[str], culprits: list[str]
) -> None:
    put(tmp_path, *files)
    with raises(DataError, tmp_path, *culprits):
        load_dataset(tmp_path)
    with raises(DataError):
        detect_layout(tmp_path)


def test_no_path_and_another_file_are_refused(tmp_path: Path) -> None:
    with raises(DataError, tmp_path / "no"):
        detect_layout(tmp_path / "no")
    with raises(DataError, "notes.txt", ".csv"):
        detect_layout(put(tmp_path, "notes.txt") / "notes.txt")
    with raises(DataError, "data.layout", "'emoji'", "'./emoji'"):
        load_dataset("emoji", layout="class")


names = st.sets(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=3)


@given(names, names, st.sampled_from([[], ["train"], ["train", "val"], ["train", "val", "test"]]))
def test_a_whole_tree_is_read_whatever_its_names(
    tmp_path_factory: pytest.TempPathFactory,
    domains: set[str],
    classes: set[str],
    parts: list[str],
) -> None:
    for levels in ([domains, classes], [classes]):
        root = tmp_path_factory.mktemp("tree")
        paths = [""]
        for level in ([parts] if parts else []) + levels:
            paths = [f"{path}{name}/" for path in paths for name in sorted(level)]
        put(root, *(f"{path}1.png" for path in paths))
        layout = detect_layout(root)
        kind = "domain/class" if len(levels) == 2 else "class"
        assert layout.kind == (f"split/{kind}" if parts else kind)
        assert layout.classes == tuple(sorted(classes))
        assert layout.domains == (tuple(sorted(domains)) if len(levels) == 2 else (root.name,))
        assert layout.splits == tuple(parts)
        assert sorted(load_dataset(root).paths) == sorted(f"{path}1.png" for path in paths)
