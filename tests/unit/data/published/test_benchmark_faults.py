"""Wrong copies and lists of published benchmarks: what a run refuses, what `data info` says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from culprits import raises

from edgedistill.data.datasets import load_dataset
from edgedistill.data.protocols.resolve import split_of
from edgedistill.data.published.check import check_benchmark
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection

Maker = Callable[..., Path]


@pytest.fixture
def copy(small_pacs: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(small_pacs, tmp_path / "PACS"))


def section(**values: object) -> DataSection:
    return DataSection.model_validate({"dataset": "pacs", "target": "sketch", **values})


def test_a_missing_domain(copy: Path) -> None:
    shutil.rmtree(copy / "cartoon")
    with raises(DataError, copy, "domain 'cartoon'", "edgedistill data info"):
        load_dataset("pacs", copy)
    assert "missing: cartoon" in check_benchmark("pacs", copy).findings


def test_a_missing_class(copy: Path) -> None:
    shutil.rmtree(copy / "photo" / "horse")
    assert "missing: photo/horse" in check_benchmark("pacs", copy).findings
    assert len(load_dataset("pacs", copy).classes) == 7
    for domain in ("art_painting", "cartoon", "sketch"):
        shutil.rmtree(copy / domain / "horse")
    with raises(DataError, copy, "class 'horse'"):
        load_dataset("pacs", copy)


def test_missing_and_extra_images_are_counted_by_class(pacs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pacs / "kfold", tmp_path / "PACS", copy_function=shutil.copyfile))
    (copy / "photo" / "dog" / "pic_007.png").unlink()
    extra = copy / "sketch" / "house" / "copy of pic_000.png"
    shutil.copy(copy / "sketch" / "house" / "pic_000.png", extra)
    findings = check_benchmark("pacs", copy).findings
    assert "missing: 1 image in photo/dog, 188 of 189" in findings
    assert "extra: 1 image in sketch/house, 81 of 80" in findings
    assert any("copy of pic_000.png is a copy of sketch/" in line for line in findings)
    assert not any("cartoon" in line for line in findings)


def test_an_image_in_another_class_is_seen_where_the_total_fits(pacs: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pacs / "kfold", tmp_path / "PACS", copy_function=shutil.copyfile))
    (copy / "photo" / "dog" / "pic_007.png").rename(copy / "photo" / "horse" / "moved.png")
    check = check_benchmark("pacs", copy)
    assert all(row.found == row.published for row in check.domains)
    assert {line for line in check.findings if "copy of" not in line} == {
        "missing: 1 image in photo/dog, 188 of 189",
        "extra: 1 image in photo/horse, 200 of 199",
    }


def test_extra_folders_are_named(copy: Path) -> None:
    shutil.copytree(copy / "photo", copy / "webcam")
    shutil.copytree(copy / "photo" / "dog", copy / "photo" / "wolf")
    findings = check_benchmark("pacs", copy).findings
    assert "extra: webcam, no domain of PACS" in findings
    assert "extra: photo/wolf, no class of PACS" in findings
    index = load_dataset("pacs", copy)
    assert len(index) == 4 * 7 * 3 and len(index.problems) == 2


def test_images_in_deeper_folders_are_counted(copy: Path) -> None:
    (copy / "photo/dog/more").mkdir()
    shutil.copy(copy / "photo/dog/pic_000.png", copy / "photo/dog/more")
    assert load_dataset("pacs", copy).omitted == (
        "images in deeper folders: 1 (photo/dog/more/pic_000.png)",
    )


def test_a_folder_that_is_there_twice(copy: Path) -> None:
    shutil.copytree(copy / "art_painting", copy / "Art Painting")
    assert "extra: art_painting, a second art_painting" in check_benchmark("pacs", copy).findings
    with raises(DataError, copy, "second art_painting"):
        load_dataset("pacs", copy)


def test_an_unreadable_image_is_named(copy: Path) -> None:
    (copy / "photo" / "dog" / "pic_001.png").write_bytes(b"not an image")
    problems = open_store(check_benchmark("pacs", copy).index, 64).problems()
    assert len(problems) == 1 and problems[0].startswith("photo/dog/pic_001.png: ")


def test_a_root_that_is_not_there_or_empty(tmp_path: Path) -> None:
    for root, culprit in ((tmp_path / "no", "does not exist"), (tmp_path, "art_painting")):
        with raises(DataError, f"{root}", "data.root", "PACS", culprit):
            load_dataset("pacs", root)
    with raises(DataError, "data.root", "PACS"):
        load_dataset("pacs")
    with raises(DataError, "data.root", "pacs", "officehome"):
        load_dataset(tmp_path, tmp_path)


def test_lists_may_lie_elsewhere(small_pacs: Path, tmp_path: Path, write_lists: Maker) -> None:
    lists = write_lists("pacs", tmp_path / "HDG" / "image_list" / "PACS", images=3)
    values = {
        "root": str(small_pacs),
        "protocol": "hdg",
        "hybridness": 1,
        "lists": str(tmp_path / "HDG"),
    }
    split = split_of(section(**values), load_dataset("pacs", small_pacs))
    assert (len(split.train), len(split.val)) == (3 * 6 * 2, 3 * 6)
    assert check_benchmark("pacs", small_pacs, str(lists)).lists == lists
    with raises(DataError, "data.lists", small_pacs, "PACS"):
        split_of(section(**{**values, "lists": str(small_pacs)}), load_dataset("pacs", small_pacs))


@pytest.mark.parametrize(
    ("change", "culprits"),
    [
        (lambda t: t + "photo/dog\n", ("line 15", "'photo/dog'")),
        (lambda t: t.replace(" 1", " one", 1), ("line 1", "'photo/dog/pic_001.png one'")),
        (lambda t: t + t.splitlines()[0], ("line 15", "photo/dog/pic_001.png", "line 1")),
        (lambda t: t.replace("/dog/", "/wolf/"), ("line 1", "class 'wolf'")),
        (lambda t: t.replace("photo/dog", "sketch/dog"), ("line 1", "'sketch'", "photo")),
        (lambda t: t.replace(".png 1", ".png 3"), ("label of 2 lines",)),
    ],
)
def test_a_broken_list_is_named_by_line(
    small_pacs: Path, tmp_path: Path, change: object, culprits: tuple[str, ...], write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    file = lists / "photo_train_kfold.txt"
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    values = {"root": str(small_pacs), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    with raises(DataError, file, *culprits):
        split_of(section(**values), load_dataset("pacs", small_pacs))
    findings = check_benchmark("pacs", small_pacs, str(lists)).findings
    assert any(
        f.startswith("wrong: photo_train_kfold.txt") and all(c in f for c in culprits)
        for f in findings
    )


def test_an_image_that_trains_and_validates(
    small_pacs: Path, tmp_path: Path, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    shutil.copy(lists / "photo_train_kfold.txt", lists / "photo_crossval_kfold.txt")
    values = {"root": str(small_pacs), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    culprits = ("14 images of photo", "train", "val", lists, "photo/dog/pic_001.png", "data.lists")
    with raises(DataError, *culprits):
        split_of(section(**values), load_dataset("pacs", small_pacs))


def test_a_list_with_the_wrong_label_base(
    small_pacs: Path, tmp_path: Path, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3, shift=-1)
    values = {"root": str(small_pacs), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    words = "labels start at 0"
    with raises(DataError, words, 1, "data.lists"):
        split_of(section(**values), load_dataset("pacs", small_pacs))
    assert any(words in line for line in check_benchmark("pacs", small_pacs, str(lists)).findings)


def test_images_of_a_list_that_are_not_there(
    small_pacs: Path, tmp_path: Path, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=4)
    values = {"root": str(small_pacs), "protocol": "hdg", "hybridness": 0, "lists": str(lists)}
    with raises(DataError, "7 of the 21 images", lists, "pic_003.png"):
        split_of(section(**values), load_dataset("pacs", small_pacs))
    findings = check_benchmark("pacs", small_pacs, str(lists)).findings
    assert any("missing: of photo_train_kfold.txt: dog/pic_003.png" in line for line in findings)


def test_a_list_that_is_missing(small_pacs: Path, tmp_path: Path, write_lists: Maker) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    (lists / "cartoon_crossval_kfold.txt").unlink()
    values = {"root": str(small_pacs), "protocol": "hdg", "hybridness": 0, "lists": str(lists)}
    with raises(DataError, lists, "cartoon_crossval_kfold.txt"):
        split_of(section(**values), load_dataset("pacs", small_pacs))
    findings = check_benchmark("pacs", small_pacs, str(lists)).findings
    assert any(line.startswith("missing: the val list of cartoon") for line in findings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hybridness": 0}, "hybridness needs protocol = 'hdg'"),
        ({"lists": "x", "protocol": "domainbed"}, "lists needs protocol = 'hdg'"),
        ({"protocol": "hdg"}, "needs either hybridness or classes_per_source"),
        (
            {"protocol": "hdg", "hybridness": 1, "classes_per_source": {"photo": ["dog"]}},
            "needs either hybridness or classes_per_source",
        ),
        ({"protocol": "hdg", "hybridness": 2}, "must lie between 0 and 1"),
        ({"protocol": "hdg", "hybridness": "much"}, "a fraction like 1/6"),
        ({"protocol": "domainbed", "test_fraction": 0.5}, "drop test_fraction"),
    ],
)
def test_keys_that_do_not_fit_the_protocol(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        section(**values)
