"""Published benchmarks on disk: every layout people have, every published split."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from culprits import raises

from edgedistill.data.datasets import load_dataset
from edgedistill.data.protocols.resolve import split_of
from edgedistill.data.protocols.split import training_hybridness
from edgedistill.data.published.benchmarks import benchmarks, key
from edgedistill.data.published.check import check_benchmark
from edgedistill.data.published.tree import read_benchmark
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection

Maker = Callable[..., Path]


def section(**values: object) -> DataSection:
    return DataSection.model_validate({"dataset": "pacs", "target": "sketch", **values})


def test_facts_are_consistent() -> None:
    facts_by_name = benchmarks()
    assert list(facts_by_name) == ["pacs", "officehome", "domainnet", "vlcs", "terraincognita"]
    totals = {n: [sum(e.values()) for e in f.editions.values()] for n, f in facts_by_name.items()}
    assert totals == {
        "pacs": [9991],
        "officehome": [15588],
        "domainnet": [596006, 586575],
        "vlcs": [10729],
        "terraincognita": [24330],
    }
    for facts in facts_by_name.values():
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
    assert {n: (len(f.known), len(f.unknown)) for n, f in facts_by_name.items() if f.hdg} == {
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


def test_rows_are_in_the_order_of_an_image_folder(small_pacs: Path) -> None:
    index = read_benchmark("pacs", small_pacs)
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
            counts = (len(split.target_known), len(split.target_unknown))
            assert counts == facts.hdg.target_images[target]
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


def test_without_lists_the_split_is_by_hash(small_pacs: Path) -> None:
    index = load_dataset("pacs", small_pacs)
    data = section(root=str(small_pacs), protocol="hdg", hybridness="1/3", val_fraction=0.4)
    split = split_of(data, index)
    named = {index.paths[row].split("/")[1] for row in split.train if index.domain[row] == 0}
    assert named <= {"dog", "elephant", "giraffe", "guitar"}
    assert len(split.target_known) == 18 and len(split.target_unknown) == 3


def test_a_user_s_own_split(small_pacs: Path) -> None:
    listed = {
        "art_painting": ["dog", "horse"],
        "cartoon": ["horse", "house"],
        "photo": ["guitar"],
    }
    values = {"root": str(small_pacs), "protocol": "hdg", "val_fraction": 0.4}
    index = load_dataset("pacs", small_pacs)
    split = split_of(section(**values, classes_per_source=listed, unknown=["person"]), index)
    assert split.known == ("dog", "guitar", "horse", "house") and split.unknown == ("person",)
    split = split_of(section(**values, classes_per_source=listed), index)
    assert split.unknown == ("elephant", "giraffe", "person")
    # One of three pairs shares one of four classes.
    assert training_hybridness(index, split) == pytest.approx(1 / 12)
    for wrong, culprits in (
        ({**listed, "video": ["dog"]}, ("data.classes_per_source", "domain 'video'")),
        ({**listed, "photo": ["gitar"]}, ("data.classes_per_source.photo", "'gitar'", "'guitar'")),
        ({"photo": ["dog"]}, ("data.classes_per_source", "source domain 'art_painting'")),
    ):
        with raises(DataError, *culprits):
            split_of(section(**values, classes_per_source=wrong), index)
    with raises(DataError, "data.known", "classes_per_source"):
        split_of(section(**values, classes_per_source=listed, known=["dog", "horse"]), index)
    with raises(DataError, "data.unknown", "PACS"):
        split_of(section(**values, hybridness=0, unknown=["house"]), index)


def test_any_folder_has_splits_of_a_hybridness(shapes: Path) -> None:
    data = DataSection(
        dataset=str(shapes), target="sea", protocol="hdg", hybridness="1/3", unknown=["star"]
    )
    with raises(DataError, "hybridness 1/3", "4 known classes", "3 source domains"):
        split_of(data, load_dataset(shapes))
    data = data.model_copy(update={"hybridness": "0"})
    split = split_of(data, load_dataset(shapes))
    index = load_dataset(shapes)
    assert training_hybridness(index, split) == 0
    by_domain = [
        {index.classes[c] for c in index.label[split.train[index.domain[split.train] == d]]}
        for d in range(4)
    ]
    assert [len(classes) for classes in by_domain] == [2, 1, 1, 0] or sum(map(len, by_domain)) == 4
    assert set().union(*by_domain) == {"circle", "cross", "square", "tall_bar"}
