"""Hybridness: the formula against every published ratio, and splits made to order."""

from __future__ import annotations

from fractions import Fraction

import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.data.protocols.hdg import computed_slots, published_slots
from edgedistill.data.protocols.hybridness import hybridness, overlapping_windows
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.errors import DataError
from edgedistill.recipe.values import parse_hybridness

PUBLISHED = [
    (name, value, target)
    for name, facts in benchmarks().items()
    if facts.hdg
    for value in facts.hdg.splits
    for target in facts.domains
]


@pytest.mark.parametrize(("name", "value", "target"), PUBLISHED)
def test_the_formula_gives_every_published_ratio(name: str, value: str, target: str) -> None:
    slots = published_slots(name, target, value)
    assert hybridness(list(slots.values())) == Fraction(value)
    facts = benchmarks()[name]
    assert set().union(*slots.values()) == set(facts.known)
    assert list(slots) == [d for d in facts.domains if d != target]


def test_published_splits_are_the_authors() -> None:
    assert {n: [*f.hdg.splits] for n, f in benchmarks().items() if f.hdg} == {
        "pacs": ["0", "1/6", "1/3", "1"],
        "officehome": ["0", "1/6", "1/3", "1"],
        "domainnet": ["0", "1/10", "1/5", "1"],
    }
    assert published_slots("pacs", "photo", "1/6") == {
        "art_painting": ("dog", "elephant", "guitar"),
        "cartoon": ("dog", "giraffe", "horse"),
        "sketch": ("elephant", "giraffe", "house"),
    }
    office = published_slots("officehome", "Art", "1/6")
    everywhere = set.intersection(*(set(slot) for slot in office.values()))
    assert everywhere == {"Drill", "Exit_Sign", "Bottle"}
    wrapped = published_slots("domainnet", "clipart", "0.2")["sketch"]
    assert wrapped[0] == "aircraft_carrier" and wrapped[-1] == "snake" and len(wrapped) == 135


@pytest.mark.parametrize("text", ["0.17", "0.1667", "0.16666666666666666", "1/6"])
def test_a_rounded_value_means_the_fraction(text: str) -> None:
    assert published_slots("pacs", "photo", text) == published_slots("pacs", "photo", "1/6")


def test_what_is_not_published_is_refused() -> None:
    with raises(DataError, "data.hybridness", "PACS", 0.5, "0, 1/6, 1/3, 1"):
        published_slots("pacs", "photo", "0.5")
    with raises(DataError, "data.hybridness", "VLCS"):
        published_slots("vlcs", "SUN09", "0")


@pytest.mark.parametrize("text", ["", "half", "1/0", "-0.1", "1.5", "1e3", "nan", "2/1"])
def test_a_hybridness_is_a_number_from_0_to_1(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_hybridness(text)


@pytest.mark.parametrize("value", ["0", "1/6", "1/3", "1"])
def test_twelve_classes_and_three_sources_have_the_papers_values(value: str) -> None:
    windows = overlapping_windows(12, 3, Fraction(value))
    assert hybridness(windows) == Fraction(value)


@given(st.integers(2, 40), st.integers(2, 6))
def test_made_splits_use_every_class(classes: int, sources: int) -> None:
    if sources > classes:
        with raises(DataError, f"{sources} source domains", f"{classes} known classes"):
            overlapping_windows(classes, sources, Fraction(0))
        return
    disjoint = overlapping_windows(classes, sources, Fraction(0))
    assert sorted(i for window in disjoint for i in window) == list(range(classes))
    assert overlapping_windows(classes, sources, Fraction(1)) == [tuple(range(classes))] * sources


def test_made_splits_name_what_is_possible() -> None:
    with raises(
        DataError, "hybridness 1/2", "4 known classes", "3 source domains", "0, 1/4, 2/3, 1"
    ):
        computed_slots(("a", "b", "c"), ("w", "x", "y", "z"), "1/2")
    with raises(DataError, "hybridness", "two source domains"):
        computed_slots(("a",), ("w", "x"), "0")


def test_label_sets_without_a_pair_have_none() -> None:
    assert hybridness([["dog"]]) is None
    assert hybridness([]) is None
    assert hybridness([[], []]) is None
