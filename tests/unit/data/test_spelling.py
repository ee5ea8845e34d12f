"""Names that differ in spelling only."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from edgedistill.data.datasets import load_index
from edgedistill.data.info import dataset_info
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.spelling import merge_spellings, similar_names
from edgedistill.data.store.image_store import open_store
from edgedistill.recipe.schema import DataSection


def grow(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / folder / "1.png")
    return root


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("box", "Box"),
        ("box", " box "),
        ("big_cat", "big-cat"),
        ("big cat", "Big__Cat"),
        ("strasse", "Straße"),
        (unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "Café")),
    ],
)
def test_names_that_may_be_meant_as_one_are_a_line(tmp_path: Path, one: str, other: str) -> None:
    index = read_folder(grow(tmp_path / "a", f"photo/{one}", f"art/{other}", "art/dog"))
    (line,) = similar_names(index)
    assert f"{one!r} (1 images in domains photo)" in line
    assert f"{other!r} (1 images in domains art)" in line
    index = read_folder(grow(tmp_path / "b", f"{one}/cat", f"{other}/dog"))
    (line,) = similar_names(index)
    assert f"{one!r} (1 images in classes cat)" in line


@pytest.mark.parametrize("names", [("box", "boxes"), ("cat1", "cat2"), ("bigcat", "big cat")])
def test_other_names_are_not(tmp_path: Path, names: tuple[str, str]) -> None:
    assert similar_names(read_folder(grow(tmp_path, *(f"a/{name}" for name in names)))) == ()


def test_data_info_has_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    assert len(dataset_info(grow(tmp_path / "data", "a/box", "b/Box")).similar) == 1


def test_spellings_are_joined_when_asked_to(tmp_path: Path) -> None:
    domains = ("Day", "day ", "sea")
    root = grow(tmp_path / "data", *(f"{d}/{name}" for d in domains for name in ("Box", "fox")))
    for domain in ("Day", "sea"):
        (root / domain / "Box").rename(root / domain / "box")
    index = read_folder(root)
    assert (index.domains, index.classes) == (("Day", "day ", "sea"), ("Box", "box", "fox"))
    merged = merge_spellings(index)
    # The name of the most images, the first of equals.
    assert (merged.domains, merged.classes) == (("Day", "sea"), ("box", "fox"))
    assert merged.paths == index.paths
    assert merged.domain.tolist() == [0, 0, 0, 0, 1, 1]
    assert merged.label.tolist() == [0, 1, 0, 1, 0, 1]
    assert merged.names == {"box": ("box",), "fox": ("fox",)}
    assert similar_names(merged) == ()
    # Both are stored, the same paths in other domains.
    for either in (index, merged, index):
        assert open_store(either, 4, tmp_path / "cache").readable.all()
    data = DataSection(dataset=str(root), merge_spellings=True)
    assert load_index(data).classes == merged.classes


def test_a_class_is_unknown_if_one_of_its_spellings_is(tmp_path: Path) -> None:
    root = grow(tmp_path, "a/Other", "b/other", "b/cat")
    (root / "edgedistill.json").write_text('{"unknown": ["other"]}')
    assert merge_spellings(read_folder(root)).unknown == ("Other",)
