from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from culprits import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.data.index import Index
from edgedistill.data.protocols.split import Split, instance_hash, make_split, source_unknown_rows
from edgedistill.errors import DataError

DOMAINS = ("art", "photo", "sketch")


def index_of(
    domains: tuple[str, ...],
    stems: dict[str, int],
    unknown: tuple[str, ...] = (),
    test_fraction: float = 0.0,
    missing: frozenset[tuple[str, str]] = frozenset(),
) -> Index:
    """Every class has the instances 0..n-1 in every domain, but for the `missing` pairs."""
    classes = tuple(sorted(stems))
    paths = [
        f"{d}/{c}/{k}.png"
        for d in domains
        for c in classes
        if (d, c) not in missing
        for k in range(stems[c])
    ]
    parts = [PurePosixPath(p).parts for p in paths]
    return Index(
        root=Path("/data"),
        domains=domains,
        classes=classes,
        paths=tuple(paths),
        domain=np.array([domains.index(p[0]) for p in parts], dtype=np.int64),
        label=np.array([classes.index(p[1]) for p in parts], dtype=np.int64),
        names={c: (c,) for c in classes},
        unknown=unknown,
        test_fraction=test_fraction,
        problems=(),
    )


@st.composite
def indices(draw: st.DrawFn) -> Index:
    classes = draw(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=6, unique=True))
    stems = {c: draw(st.integers(25, 60)) for c in classes}
    unknown = tuple(classes[: draw(st.integers(0, len(classes) - 1))])
    return index_of(DOMAINS, stems, unknown, draw(st.sampled_from([0.0, 0.3])))


def roles(index: Index, split: Split) -> dict[str, str]:
    parts = {"train": split.train, "val": split.val}
    parts |= {"test": np.concatenate([split.target_known, split.target_unknown])}
    return {index.paths[row]: name for name, rows in parts.items() for row in rows}


@settings(max_examples=40, deadline=None)
@given(indices(), st.sampled_from(DOMAINS), st.integers(0, 3))
def test_parts_are_disjoint_and_cover_what_they_should(
    index: Index, target: str, seed: int
) -> None:
    split = make_split(index, target=target, seed=seed)
    parts = [split.train, split.val, split.target_known, split.target_unknown]
    rows = np.concatenate(parts)
    assert len(np.unique(rows)) == len(rows)
    in_target = index.domain == index.domains.index(target)
    known = split.known_label[index.label] >= 0
    for part, wants_target, wants_known in zip(
        parts, [False, False, True, True], [True, True, True, False], strict=True
    ):
        assert np.all(in_target[part] == wants_target)
        assert np.all(known[part] == wants_known)
        assert np.all(np.diff(part) > 0)
    unused = np.setdiff1d(np.arange(len(index)), rows)
    if index.test_fraction == 0:
        # Every target image is tested; what is left over is unknown classes in the sources.
        assert not np.any(in_target[unused])
        assert not np.any(known[unused])
        assert np.array_equal(source_unknown_rows(index, split), unused)
    else:
        assert np.all(in_target[unused] <= known[unused])
    assert np.array_equal(
        split.known_label,
        [split.known.index(c) if c in split.known else -1 for c in index.classes],
    )


@settings(max_examples=40, deadline=None)
@given(indices(), st.integers(0, 3))
def test_an_instance_is_on_one_side_whatever_the_domain_and_the_target(
    index: Index, seed: int
) -> None:
    if index.test_fraction == 0:
        return
    sides: dict[tuple[str, str], set[str]] = {}
    for target in index.domains:
        split = make_split(index, target=target, seed=seed)
        for path, role in roles(index, split).items():
            _, cls, file = PurePosixPath(path).parts
            if cls in split.known:
                sides.setdefault((cls, file), set()).add(role)
    assert all(len(roles_of_instance) == 1 for roles_of_instance in sides.values())


@settings(max_examples=30, deadline=None)
@given(indices(), st.integers(0, 3))
def test_same_seed_same_split_and_new_classes_move_nothing(index: Index, seed: int) -> None:
    before = make_split(index, target="art", seed=seed)
    again = make_split(index, target="art", seed=seed)
    assert np.array_equal(before.train, again.train)
    stems = {c: sum(p.startswith(f"art/{c}/") for p in index.paths) for c in index.classes}
    larger = index_of(DOMAINS, stems | {"zz": 40}, index.unknown, index.test_fraction)
    after = roles(larger, make_split(larger, target="art", seed=seed))
    assert roles(index, before).items() <= after.items()


def test_fractions_are_what_was_asked_for() -> None:
    index = index_of(("s", "t"), {"a": 4000})
    split = make_split(index, target="t", val_fraction=0.25, test_fraction=0.4)
    assert len(split.target_known) / 4000 == pytest.approx(0.4, abs=0.03)
    assert len(split.val) / 4000 == pytest.approx(0.25 * 0.6, abs=0.03)
    assert len(split.train) / 4000 == pytest.approx(0.75 * 0.6, abs=0.03)


def test_another_seed_is_another_split() -> None:
    index = index_of(("s", "t"), {"a": 100})
    splits = [make_split(index, target="t", seed=seed) for seed in (0, 1)]
    assert not np.array_equal(splits[0].train, splits[1].train)


def test_instance_hash_never_changes() -> None:
    # Published numbers depend on it.
    assert instance_hash(0, "animals", "1f415") == pytest.approx(0.9079588, abs=1e-6)
    assert 0 <= instance_hash(3, "x", "\udcff") < 1


def test_class_lists_complete_each_other() -> None:
    index = index_of(("s", "t"), {c: 30 for c in "abcd"}, unknown=("d",))

    def lists(**kwargs: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        split = make_split(index, target="t", **kwargs)  # type: ignore[arg-type]
        return split.known, split.unknown

    assert lists() == (("a", "b", "c"), ("d",))
    assert lists(known=["b", "a"]) == (("b", "a"), ("c", "d"))
    assert lists(unknown=["c"]) == (("a", "b"), ("c",))
    assert lists(known=["a", "d"], unknown=["b"]) == (("a", "d"), ("b",))
    assert lists(unknown=[]) == (("a", "b", "c"), ())


@pytest.mark.parametrize(
    ("kwargs", "culprits"),
    [
        ({"target": "phto"}, ["target domain 'phto'", "'photo'", "art, photo, sketch"]),
        ({"target": "art", "known": ["dgo"]}, ["known class 'dgo'", "'dog'"]),
        ({"target": "art", "unknown": ["dgo"]}, ["unknown class 'dgo'", "'dog'"]),
        ({"target": "art", "known": ["dog"], "unknown": ["dog"]}, ["dog", "known and unknown"]),
        ({"target": "art", "known": ["dog", "dog"]}, ["'dog'", "twice"]),
        ({"target": "art", "unknown": ["cat", "dog"]}, ["known class", "cat, dog"]),
        ({"target": "art", "known": []}, ["known class", "cat, dog"]),
        ({"target": "art", "val_fraction": 1.0}, ["val_fraction", "[0, 1)"]),
        ({"target": "art", "test_fraction": -0.1}, ["test_fraction", "[0, 1)"]),
        ({"target": "art", "test_fraction": 0.999999}, ["training image"]),
        ({"target": "art", "test_fraction": 1e-9}, ["test image", "test_fraction"]),
    ],
)
def test_errors_say_what_and_what_is_allowed(
    kwargs: dict[str, object], culprits: list[str]
) -> None:
    index = index_of(DOMAINS, {"cat": 20, "dog": 20})
    with raises(DataError, *culprits):
        make_split(index, **kwargs)  # type: ignore[arg-type]


def test_single_instances_leave_nothing_to_validate_on() -> None:
    with raises(DataError, "validation image", "val_fraction"):
        make_split(index_of(("s", "t"), {"cat": 1, "dog": 1}), target="t")


def test_chosen_sources_leave_the_others_out() -> None:
    index = index_of(DOMAINS, {"cat": 40, "dog": 40})
    everything = make_split(index, target="art")
    split = make_split(index, target="art", sources=["photo"])
    assert split.sources == ("photo",)
    photo = index.domains.index("photo")
    for part, whole in ((split.train, everything.train), (split.val, everything.val)):
        assert part.tolist() == [r for r in whole.tolist() if index.domain[r] == photo]
    assert split.target_known.tolist() == everything.target_known.tolist()


@pytest.mark.parametrize("name", ["art", "phto"])
def test_a_source_that_cannot_be_is_refused(name: str) -> None:
    with raises(DataError, f"source domain '{name}'", "photo"):
        make_split(index_of(DOMAINS, {"cat": 20, "dog": 20}), target="art", sources=[name])


def test_one_domain_leaves_no_source() -> None:
    with raises(DataError, "domain 'only'", "source"):
        make_split(index_of(("only",), {"a": 20}), target="only")


def test_a_source_without_known_classes_is_refused() -> None:
    index = index_of(DOMAINS, {"cat": 20, "dog": 20}, missing=frozenset({("photo", "cat")}))
    with raises(DataError, "source domain 'photo'", "training image", "cat"):
        make_split(index, target="art", known=["cat"])


def test_a_known_class_that_only_the_target_has_is_refused() -> None:
    missing = frozenset({("photo", "cat"), ("sketch", "cat")})
    index = index_of(DOMAINS, {"cat": 20, "dog": 20}, missing=missing)
    with raises(DataError, "known class 'cat'", "training image", "photo, sketch"):
        make_split(index, target="art")


def test_images_of_one_instance_lie_on_one_side() -> None:
    index = index_of(DOMAINS, {"cat": 40, "dog": 40}, test_fraction=0.3)
    frames = tuple(
        path.replace(".png", f"#{number % 3}.png") for number, path in enumerate(index.paths)
    )
    clips = replace(index, paths=frames, instance_separator="#")
    assert roles(clips, make_split(clips, target="art")) == {
        frames[index.paths.index(path)]: role
        for path, role in roles(index, make_split(index, target="art")).items()
    }
