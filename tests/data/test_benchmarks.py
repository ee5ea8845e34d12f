"""Published benchmarks on disk: every layout people have, and every way a copy can be wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedistill.data.benchmark_check import check_benchmark
from edgedistill.data.benchmark_tree import read_benchmark
from edgedistill.data.benchmarks import benchmarks, key
from edgedistill.data.datasets import load_dataset
from edgedistill.data.split import training_hybridness
from edgedistill.data.store import open_store
from edgedistill.errors import EdgeDistillError
from edgedistill.problem import split_of
from edgedistill.recipe.schema import DataSection

Maker = Callable[..., Path]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, grow: Maker) -> Path:
    """Three images of every class of PACS, in the domains' folders."""
    root = grow("pacs", tmp_path_factory.mktemp("small"), images=3)
    return root


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(small, tmp_path / "PACS"))


def section(**values: object) -> DataSection:
    return DataSection.model_validate({"dataset": "pacs", "target": "sketch", **values})


def test_facts_are_consistent() -> None:
    found = benchmarks()
    assert list(found) == ["pacs", "officehome", "domainnet", "vlcs", "terraincognita"]
    totals = {n: [sum(e.values()) for e in f.editions.values()] for n, f in found.items()}
    assert totals == {
        "pacs": [9991],
        "officehome": [15588],
        "domainnet": [596006, 586575],
        "vlcs": [10729],
        "terraincognita": [24330],
    }
    for facts in found.values():
        assert list(facts.domains) == sorted(facts.domains)
        assert len({key(c) for c in facts.classes}) == len(facts.classes)
        assert all(set(e) == set(facts.domains) for e in facts.editions.values())
        for domain, images in facts.class_images.items():
            assert sum(images) == next(iter(facts.editions.values()))[domain]
        for domain in facts.domains if facts.hdg else ():
            assert facts.hdg
            published = next(iter(facts.editions.values()))[domain]
            lists = facts.hdg.list_images[domain]
            if facts.title != "DomainNet":
                assert lists["test"] == published
                assert (lists["train"] or 0) + (lists["val"] or 0) == published
            assert sum(facts.hdg.target_images[domain]) == lists["test"]
    assert {n: (len(f.known), len(f.unknown)) for n, f in found.items() if f.hdg} == {
        "pacs": (6, 1),
        "officehome": (54, 11),
        "domainnet": (270, 75),
    }


def test_facts_are_those_that_were_compared_with_the_sources() -> None:
    """Digests of what was read in the authors' repositories, number by number.

    A swap of two classes keeps every sum, and would be seen nowhere else.
    """
    dumped = {n: f.model_dump(mode="json") for n, f in benchmarks().items()}
    digests = {
        name: hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        for name, facts in dumped.items()
    }
    assert digests == {
        "pacs": "99f0de54fddb4bda",
        "officehome": "36e69f7e931c7440",
        "domainnet": "a6397efb501b2530",
        "vlcs": "52a41bc47df87381",
        "terraincognita": "69cd20ef0add29fb",
    }


@pytest.mark.parametrize(
    ("name", "folder", "around"),
    [
        ("pacs", str, "kfold"),
        ("officehome", lambda d: d.replace("_", " "), ""),
        ("officehome", str, "OfficeHomeDataset_10072016"),
        ("vlcs", str, ""),
        ("vlcs", lambda d: {"Caltech101": "CALTECH", "SUN09": "SUN"}.get(d, d), "VLCS"),
        ("terraincognita", lambda d: d.replace("location_", "L"), "a/b"),
    ],
)
def test_every_layout_is_found(
    name: str, folder: object, around: str, tmp_path: Path, grow: Maker
) -> None:
    grow(name, tmp_path / around, images=1, folder=folder)
    index = load_dataset(name, tmp_path)
    facts = benchmarks()[name]
    assert index.domains == facts.domains
    assert index.classes == tuple(sorted(facts.classes))
    assert len(index) == len(facts.domains) * len(facts.classes)
    assert set(index.unknown) == set(facts.unknown)
    assert all(index.path(row).is_file() for row in range(len(index)))
    assert index.problems == ()


def test_class_folders_with_spaces_have_the_lists_names(tmp_path: Path, grow: Maker) -> None:
    grow("officehome", tmp_path, images=1, class_folder=lambda c: c.replace("_", " "))
    index = load_dataset("officehome", tmp_path)
    assert "Alarm_Clock" in index.classes and index.names["Alarm_Clock"] == ("Alarm Clock",)


def test_rows_are_in_the_order_of_an_image_folder(small: Path) -> None:
    index = read_benchmark("pacs", small)
    assert list(index.paths) == sorted(index.paths)
    assert np.all(np.diff(index.domain) >= 0)


def test_a_whole_copy_agrees(pacs: Path) -> None:
    check = check_benchmark("pacs", pacs)
    assert check.findings == ()
    assert [row.found for row in check.domains] == [2048, 2344, 1670, 3929]
    assert check.lists == pacs / "lists" and len(check.list_rows) == 12
    assert all(row.found == row.published for row in check.list_rows)


def test_the_lists_give_every_published_split(pacs: Path) -> None:
    facts = benchmarks()["pacs"]
    assert facts.hdg
    index = load_dataset("pacs", pacs)
    for value, targets in facts.hdg.split_images.items():
        for target, sources in targets.items():
            data = section(root=str(pacs), target=target, protocol="hdg", hybridness=value)
            split = split_of(data, index)
            assert (split.known, split.unknown) == (facts.known, facts.unknown)
            found = (len(split.target_known), len(split.target_unknown))
            assert found == facts.hdg.target_images[target]
            for source, published in sources.items():
                domain = index.domains.index(source)
                parts = [int((index.domain[r] == domain).sum()) for r in (split.train, split.val)]
                assert tuple(parts) == published, (value, target, source)


def test_domainbed_splits_all_images_and_classes(pacs: Path) -> None:
    index = load_dataset("pacs", pacs)
    split = split_of(section(target="sketch", protocol="domainbed"), index)
    assert split.known == tuple(sorted(benchmarks()["pacs"].classes)) and split.unknown == ()
    assert (len(split.target_known), len(split.target_unknown)) == (3144, 0)
    assert (len(split.train), len(split.val)) == (1639 + 1876 + 1336, 409 + 468 + 334)
    # The first environment's first shuffled keys, which are its first rows as well.
    assert {548, 677, 1997, 977, 1553} <= set(split.val.tolist())
    other = split_of(section(target="sketch", protocol="domainbed", split_seed=1), index)
    assert not np.array_equal(other.val, split.val)


def test_domainbed_with_unknown_classes_keeps_the_others_split(pacs: Path) -> None:
    index = load_dataset("pacs", pacs)
    split = split_of(section(protocol="domainbed"), index)
    opened = split_of(section(protocol="domainbed", unknown=["person"]), index)
    person = index.label == index.class_id("person")
    assert np.array_equal(opened.val, split.val[~person[split.val]])
    assert np.array_equal(opened.target_unknown, split.target_known[person[split.target_known]])


def test_a_target_may_be_called_as_people_call_it(tmp_path: Path, grow: Maker) -> None:
    root = grow("officehome", tmp_path, images=8, folder=lambda d: d.replace("_", " "))
    data = section(
        dataset="officehome", root=str(root), target="real world", protocol="hdg", hybridness=0
    )
    split = split_of(data, load_dataset("officehome", root))
    assert split.target == "Real_World" and len(split.known) == 54
    assert split.known[0] == "Drill"


def test_without_lists_the_split_is_by_hash(small: Path) -> None:
    index = load_dataset("pacs", small)
    data = section(root=str(small), protocol="hdg", hybridness="1/3", val_fraction=0.4)
    split = split_of(data, index)
    named = {index.paths[row].split("/")[1] for row in split.train if index.domain[row] == 0}
    assert named <= {"dog", "elephant", "giraffe", "guitar"}
    assert len(split.target_known) == 18 and len(split.target_unknown) == 3


# Wrong copies: what a run refuses, and what `data info` says.


def test_a_missing_domain(copy: Path) -> None:
    shutil.rmtree(copy / "cartoon")
    with pytest.raises(EdgeDistillError, match=r"no image of the domain 'cartoon'; .*data info"):
        load_dataset("pacs", copy)
    assert "missing: cartoon" in check_benchmark("pacs", copy).findings


def test_a_missing_class(copy: Path) -> None:
    shutil.rmtree(copy / "photo" / "horse")
    assert "missing: photo/horse" in check_benchmark("pacs", copy).findings
    assert len(load_dataset("pacs", copy).classes) == 7
    for domain in ("art_painting", "cartoon", "sketch"):
        shutil.rmtree(copy / domain / "horse")
    with pytest.raises(EdgeDistillError, match="no image of the class 'horse'"):
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


def test_a_folder_that_is_there_twice(copy: Path) -> None:
    shutil.copytree(copy / "art_painting", copy / "Art Painting")
    assert "extra: art_painting, a second art_painting" in check_benchmark("pacs", copy).findings
    with pytest.raises(EdgeDistillError, match="a second art_painting; remove one"):
        load_dataset("pacs", copy)


def test_an_unreadable_image_is_named(copy: Path) -> None:
    (copy / "photo" / "dog" / "pic_001.png").write_bytes(b"not an image")
    problems = open_store(check_benchmark("pacs", copy).index, 64).problems()
    assert len(problems) == 1 and problems[0].startswith("photo/dog/pic_001.png: ")


def test_a_root_that_is_not_there_or_empty(tmp_path: Path) -> None:
    for root, words in (
        (tmp_path / "no", "does not exist; set data.root to your copy of PACS"),
        (tmp_path, "has no domain of PACS"),
    ):
        with pytest.raises(EdgeDistillError, match=words):
            load_dataset("pacs", root)
    with pytest.raises(EdgeDistillError, match="PACS is not part of this package"):
        load_dataset("pacs")
    with pytest.raises(EdgeDistillError, match="only for pacs, officehome"):
        load_dataset(tmp_path, tmp_path)


def test_lists_may_lie_elsewhere(small: Path, tmp_path: Path, write_lists: Maker) -> None:
    lists = write_lists("pacs", tmp_path / "HDG" / "image_list" / "PACS", images=3)
    values = {
        "root": str(small),
        "protocol": "hdg",
        "hybridness": 1,
        "lists": str(tmp_path / "HDG"),
    }
    split = split_of(section(**values), load_dataset("pacs", small))
    assert (len(split.train), len(split.val)) == (3 * 6 * 2, 3 * 6)
    assert check_benchmark("pacs", small, str(lists)).lists == lists
    with pytest.raises(EdgeDistillError, match="no image list of PACS"):
        split_of(section(**{**values, "lists": str(small)}), load_dataset("pacs", small))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t + "photo/dog\n", "line 15: 'photo/dog' is not domain/class/file label"),
        (lambda t: t.replace(" 1", " one", 1), "line 1: 'photo/dog/pic_001.png one' is not"),
        (lambda t: t + t.splitlines()[0], "photo/dog/pic_001.png is on line 1 already"),
        (lambda t: t.replace("/dog/", "/wolf/"), "line 1: no class 'wolf'"),
        (lambda t: t.replace("photo/dog", "sketch/dog"), "line 1: 'sketch' is not photo"),
        (lambda t: t.replace(".png 1", ".png 3"), "the label of 2 lines is not that"),
    ],
)
def test_a_broken_list_is_named_by_line(
    small: Path, tmp_path: Path, change: object, words: str, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    file = lists / "photo_train_kfold.txt"
    file.write_text(change(file.read_text()))  # type: ignore[operator]
    values = {"root": str(small), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    with pytest.raises(EdgeDistillError) as error:
        split_of(section(**values), load_dataset("pacs", small))
    assert "photo_train_kfold.txt" in str(error.value) and words in str(error.value)
    findings = check_benchmark("pacs", small, str(lists)).findings
    assert any(f.startswith("wrong: photo_train_kfold.txt") and words in f for f in findings)


def test_an_image_that_trains_and_validates(
    small: Path, tmp_path: Path, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    shutil.copy(lists / "photo_train_kfold.txt", lists / "photo_crossval_kfold.txt")
    values = {"root": str(small), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    words = "14 images of photo are in its train list and in its val list in .*photo/dog/pic_001"
    with pytest.raises(EdgeDistillError, match=words):
        split_of(section(**values), load_dataset("pacs", small))


def test_a_list_with_the_wrong_label_base(small: Path, tmp_path: Path, write_lists: Maker) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3, shift=-1)
    values = {"root": str(small), "protocol": "hdg", "hybridness": 1, "lists": str(lists)}
    words = "labels start at 0, those of the published list at 1"
    with pytest.raises(EdgeDistillError, match=words):
        split_of(section(**values), load_dataset("pacs", small))
    assert any(words in line for line in check_benchmark("pacs", small, str(lists)).findings)


def test_images_of_a_list_that_are_not_there(
    small: Path, tmp_path: Path, write_lists: Maker
) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=4)
    values = {"root": str(small), "protocol": "hdg", "hybridness": 0, "lists": str(lists)}
    with pytest.raises(EdgeDistillError, match=r"7 of the 21 images of .* first is .*/pic_003.png"):
        split_of(section(**values), load_dataset("pacs", small))
    findings = check_benchmark("pacs", small, str(lists)).findings
    assert any("missing: of photo_train_kfold.txt: dog/pic_003.png" in line for line in findings)


def test_a_list_that_is_missing(small: Path, tmp_path: Path, write_lists: Maker) -> None:
    lists = write_lists("pacs", tmp_path / "lists", images=3)
    (lists / "cartoon_crossval_kfold.txt").unlink()
    values = {"root": str(small), "protocol": "hdg", "hybridness": 0, "lists": str(lists)}
    with pytest.raises(EdgeDistillError, match=r"no cartoon_crossval_kfold.txt; add the list"):
        split_of(section(**values), load_dataset("pacs", small))
    findings = check_benchmark("pacs", small, str(lists)).findings
    assert any(line.startswith("missing: the val list of cartoon") for line in findings)


def test_a_user_s_own_split(small: Path) -> None:
    listed = {
        "art_painting": ["dog", "horse"],
        "cartoon": ["horse", "house"],
        "photo": ["guitar"],
    }
    values = {"root": str(small), "protocol": "hdg", "val_fraction": 0.4}
    index = load_dataset("pacs", small)
    split = split_of(section(**values, classes_per_source=listed, unknown=["person"]), index)
    assert split.known == ("dog", "guitar", "horse", "house") and split.unknown == ("person",)
    split = split_of(section(**values, classes_per_source=listed), index)
    assert split.unknown == ("elephant", "giraffe", "person")
    # One of three pairs shares one of four classes.
    assert training_hybridness(index, split) == pytest.approx(1 / 12)
    for wrong, words in (
        ({**listed, "video": ["dog"]}, "no domain 'video'"),
        ({**listed, "photo": ["gitar"]}, "no class 'gitar'; did you mean 'guitar'"),
        ({"photo": ["dog"]}, "the source domain 'art_painting' has no classes"),
    ):
        with pytest.raises(EdgeDistillError, match=words):
            split_of(section(**values, classes_per_source=wrong), index)
    with pytest.raises(EdgeDistillError, match=r"data\.known: with classes_per_source"):
        split_of(section(**values, classes_per_source=listed, known=["dog", "horse"]), index)
    with pytest.raises(EdgeDistillError, match="published splits of PACS fix"):
        split_of(section(**values, hybridness=0, unknown=["house"]), index)


def test_any_folder_has_splits_of_a_hybridness(shapes: Path) -> None:
    data = DataSection(
        dataset=str(shapes), target="sea", protocol="hdg", hybridness="1/3", unknown=["star"]
    )
    with pytest.raises(EdgeDistillError, match="no hybridness 1/3 with 4 known classes and 3"):
        split_of(data, load_dataset(shapes))
    data = data.model_copy(update={"hybridness": "0"})
    split = split_of(data, load_dataset(shapes))
    index = load_dataset(shapes)
    assert training_hybridness(index, split) == 0
    by_domain = [
        {index.classes[c] for c in index.label[split.train[index.domain[split.train] == d]]}
        for d in range(4)
    ]
    assert [len(found) for found in by_domain] == [2, 1, 1, 0] or sum(map(len, by_domain)) == 4
    assert set().union(*by_domain) == {"circle", "cross", "square", "tall_bar"}


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
