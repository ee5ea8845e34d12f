"""CSV files that name images: columns, encodings, separators, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from culprits import raises

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import NOT_GIVEN, TEST, TRAIN, VAL, Index
from edgedistill.data.layouts import detect_layout
from edgedistill.errors import DataError

IMAGES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file in IMAGES:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    return tmp_path


def table(root: Path, text: str, encoding: str = "utf-8") -> Path:
    file = root / "labels.csv"
    file.write_bytes(text.encode(encoding))
    return file


def labels(index: Index) -> dict[str, str]:
    return {
        path: index.classes[label]
        for path, label in zip(index.paths, index.label.tolist(), strict=True)
    }


WHOLE = """path,label,domain,split
a/1.png,cat,day,train
a/2.png,dog,day,val
b/3.png,cat,night,test
b/4.png,dog,night,
"""


def test_all_columns(root: Path) -> None:
    file = table(root, WHOLE)
    index = load_dataset(str(file))
    assert index.root == root
    assert labels(index) == {"a/1.png": "cat", "a/2.png": "dog", "b/3.png": "cat", "b/4.png": "dog"}
    assert (index.domains, index.classes) == (("day", "night"), ("cat", "dog"))
    assert index.domain.tolist() == [0, 0, 1, 1]
    assert index.split.tolist() == [TRAIN, VAL, TEST, NOT_GIVEN]
    layout = detect_layout(file)
    assert (layout.kind, layout.domains, layout.splits) == (
        "csv",
        ("day", "night"),
        ("train", "val", "test"),
    )


def test_the_order_of_rows_is_no_matter(root: Path) -> None:
    header, *rows = WHOLE.splitlines()
    first = load_dataset(table(root, WHOLE))
    again = load_dataset(table(root, "\n".join([header, *reversed(rows)])))
    assert (first.paths, first.split.tolist()) == (again.paths, again.split.tolist())


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_encodings_and_separators(root: Path, encoding: str, separator: str) -> None:
    rows = [["Label", " PATH "], ["café, noir" if separator != "," else "café", "a/1.png"]]
    text = "\r\n".join(separator.join(row) for row in rows)
    assert load_dataset(table(root, text, encoding)).classes == (rows[1][0],)


def test_one_domain_is_called_by_the_root(root: Path) -> None:
    index = load_dataset(table(root, 'path,label\n"a/1.png","big, red"\n\n a/2.png , dog \n'))
    assert index.domains == (root.name,)
    assert labels(index) == {"a/1.png": "big, red", "a/2.png": "dog"}


def test_paths_start_from_the_root_that_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    whole = root / "b/4.png"
    text = f"path,label\n1.png,cat\n.\\2.png,dog\n{whole},dog\n"
    index = load_dataset(table(tmp_path / "tables", text), root / "a")
    assert set(labels(index)) == {"1.png", "2.png", whole.as_posix()}
    assert all(index.path(row).is_file() for row in range(3))


def test_classes_that_are_numbers_are_in_their_order(root: Path) -> None:
    index = load_dataset(table(root, "path,label\na/1.png,10\na/2.png,9\n"))
    assert index.classes == ("9", "10")


def test_repeated_rows_are_counted(root: Path) -> None:
    index = load_dataset(table(root, "path,label\na/1.png,cat\na/2.png,dog\n./a/1.png,cat\n"))
    assert len(index) == 2
    assert len(index.omitted) == 1 and "line 4" in index.omitted[0]


@pytest.mark.parametrize(
    ("text", "culprits"),
    [
        ("", ["empty", "path,label"]),
        ("path,label\n", ["row"]),
        ("path,colour\na/1.png,red\n", ["'label'", "path, colour"]),
        ("id,label\na/1.png,red\n", ["'path'", "id, label"]),
        ("path,file,label\na/1.png,a/1.png,x\n", ["'path' and 'file'"]),
        ("path,label\na/1.png,cat\n,dog\n", ["line 3", "path"]),
        ("path,label\na/1.png\n", ["line 2", "label"]),
        ("path,label,split\na/1.png,cat,tst\n", ["line 2", "'tst'", "train"]),
        ("path,label\na/1.png,cat\na/9.png,dog\n", [1, "line 3", "a/9.png"]),
        ("path,label\na/1.png,cat\na/1.png,dog\n", ["line 3", "a/1.png", "'dog'", "'cat'"]),
        ("path,label,domain\na/1.png,c,x\na/1.png,c,y\n", ["line 3", "'x'", "'y'"]),
        ("path,label,split\na/1.png,c,train\na/1.png,c,test\n", ["line 3", "train", "test"]),
        ("path,label\na/1.png,cat;dog\n", ["line 2", "'cat;dog'", "several labels"]),
        ("path;label\na/1.png;cat|dog\n", ["line 2", "several labels"]),
        ("path\tlabel\na/1.png\t['cat', 'dog']\n", ["line 2", "several labels"]),
        ('path,label\na/1.png,"cat,dog"\na/2.png,cat\nb/3.png,dog\n', ["several labels"]),
        ("path,cat,dog\na/1.png,0,1\na/2.png,1,1\n", ["cat, dog", "several labels"]),
        ('path,label\n"a/1.png,cat\n', ["line 2"]),
        ("path\x1dx,label\na/1.png,cat\n", ["'path'", "path\\x1dx, label"]),
        ("path,label\na\x0b9.png,cat\n", [1, "a\\x0b9.png"]),
        (f"path,label\n{'9' * 5000},cat\n", [1, "line 2"]),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    root: Path, text: str, culprits: list[str | int]
) -> None:
    with raises(DataError, "labels.csv", *culprits):
        load_dataset(table(root, text))


def test_bytes_of_no_encoding_are_refused(root: Path) -> None:
    (root / "labels.csv").write_bytes(b"path,label\na/1.png,\x81\n")
    with raises(DataError, "labels.csv", "UTF-8"):
        load_dataset(root / "labels.csv")
