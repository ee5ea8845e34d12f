"""Batches: balanced, a pure function of (seed, step), and fair to every image."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgedistill.train.batches import (
    Batch,
    draw_batch,
    draw_class_balanced_batch,
    draw_unlabelled_batch,
)

Domains = tuple[NDArray[np.int64], ...]
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def domains(lengths: list[int]) -> Domains:
    # Domains are interleaved, as positions need not be ascending runs.
    owner = np.random.default_rng(0).permutation(np.repeat(np.arange(len(lengths)), lengths))
    return tuple(np.flatnonzero(owner == d) for d in range(len(lengths)))


def draw(data: Domains, step: int, per_domain: int, **more: int) -> Batch:
    options = {"seed": 0, "views": 3, "replacement": False, **more}
    return draw_batch(data, step=step, per_domain=per_domain, **options)  # type: ignore[arg-type]


@given(sizes, st.integers(0, 50), st.integers(1, 7), st.booleans())
def test_as_many_images_of_every_domain(
    lengths: list[int], step: int, per_domain: int, replacement: bool
) -> None:
    data = domains(lengths)
    batch = draw(data, step, per_domain, replacement=replacement)
    assert batch.positions.dtype == batch.views.dtype == np.int64
    for d, positions in enumerate(data):
        part = batch.positions[d * per_domain : (d + 1) * per_domain]
        assert len(part) == per_domain and set(part) <= set(positions)


@given(sizes, st.integers(1, 7), st.booleans(), st.integers(0, 2**32 - 1))
def test_pure_in_seed_and_step(
    lengths: list[int], per_domain: int, replacement: bool, seed: int
) -> None:
    data = domains(lengths)
    forward = [draw(data, s, per_domain, replacement=replacement, seed=seed) for s in range(6)]
    for step in (5, 2, 0, 4):
        again = draw(data, step, per_domain, replacement=replacement, seed=seed)
        assert np.array_equal(again.positions, forward[step].positions)
        assert np.array_equal(again.views, forward[step].views)


@given(sizes, st.integers(1, 7))
def test_without_replacement_every_pass_covers_a_domain(
    lengths: list[int], per_domain: int
) -> None:
    data = domains(lengths)
    batches = [draw(data, step, per_domain).positions for step in range(30)]
    for d, positions in enumerate(data):
        walk = np.concatenate([b[d * per_domain : (d + 1) * per_domain] for b in batches])
        length = len(positions)
        for start in range(0, len(walk) - length + 1, length):
            assert set(walk[start : start + length]) == set(positions)


def test_passes_domains_and_seeds_have_orders_of_their_own() -> None:
    data = domains([40, 40])
    first, second = (draw(data, step, 40).positions for step in (0, 1))
    assert not np.array_equal(first[:40], second[:40])
    place = [np.argsort(first[d * 40 : (d + 1) * 40]) for d in (0, 1)]
    assert not np.array_equal(*place)
    assert not np.array_equal(first, draw(data, 0, 40, seed=1).positions)


def test_with_replacement_repeats_and_differs_from_step_to_step() -> None:
    data = domains([40])
    batch = draw(data, 0, 40, replacement=True).positions
    assert len(set(batch)) < 40
    assert not np.array_equal(batch, draw(data, 1, 40, replacement=True).positions)


def test_views_cover_the_cached_ones_or_any() -> None:
    data = domains([20])
    cached = np.concatenate([draw(data, s, 20, views=3).views for s in range(20)])
    assert set(cached) == {0, 1, 2}
    endless = np.concatenate([draw(data, s, 20, views=0).views for s in range(20)])
    assert len(set(endless)) > 390 and endless.max() < 2**31


class_sizes = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=3)


def grouped(lengths: list[list[int]]) -> tuple[Domains, ...]:
    flat = iter(domains([length for classes in lengths for length in classes]))
    return tuple(tuple(next(flat) for _ in classes) for classes in lengths)


def draw_balanced(
    data: tuple[Domains, ...], step: int, per_domain: int, replacement: bool = False, seed: int = 0
) -> NDArray[np.int64]:
    return draw_class_balanced_batch(
        data, seed=seed, step=step, per_domain=per_domain, views=3, replacement=replacement
    ).positions


@given(class_sizes, st.integers(1, 7))
def test_balanced_batches_hold_every_class_as_often_and_every_image_of_it(
    lengths: list[list[int]], per_domain: int
) -> None:
    data = grouped(lengths)
    batches = [draw_balanced(data, step, per_domain) for step in range(40)]
    for d, classes in enumerate(data):
        walk = np.concatenate([b[d * per_domain : (d + 1) * per_domain] for b in batches])
        counts = [int(np.isin(walk, positions).sum()) for positions in classes]
        assert sum(counts) == len(walk) and max(counts) - min(counts) <= 1
        for positions in classes:
            of_class = walk[np.isin(walk, positions)]
            each = [int((of_class == position).sum()) for position in positions]
            assert max(each) - min(each) <= 1


@given(class_sizes, st.integers(1, 7), st.booleans(), st.integers(0, 2**32 - 1))
def test_balanced_batches_are_pure_in_seed_and_step(
    lengths: list[list[int]], per_domain: int, replacement: bool, seed: int
) -> None:
    data = grouped(lengths)
    forward = [draw_balanced(data, s, per_domain, replacement, seed) for s in range(5)]
    for step in (4, 2, 0):
        again = draw_balanced(data, step, per_domain, replacement, seed)
        assert np.array_equal(again, forward[step])


def test_balanced_with_replacement_draws_a_rare_class_as_often_as_a_common_one() -> None:
    data = grouped([[95, 5]])
    walk = np.concatenate([draw_balanced(data, step, 50, replacement=True) for step in range(40)])
    share = float(np.isin(walk, data[0][1]).mean())
    # 2,000 draws: one standard deviation is 1.1 per cent.
    assert 0.45 < share < 0.55
    assert set(walk) == set(np.concatenate(data[0]))


@given(st.integers(1, 30), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_unlabelled_images_are_drawn_by_seed_and_step(
    length: int, count: int, replacement: bool, seed: int
) -> None:
    positions = np.arange(100, 100 + length)

    def drawn(step: int) -> Batch:
        return draw_unlabelled_batch(
            positions, seed=seed, step=step, count=count, views=3, replacement=replacement
        )

    batches = [drawn(step) for step in range(60)]
    again = drawn(17)
    assert np.array_equal(again.positions, batches[17].positions)
    assert np.array_equal(again.views, batches[17].views)
    walk = np.concatenate([batch.positions for batch in batches])
    assert set(walk) <= set(positions)
    assert set(np.concatenate([batch.views for batch in batches])) <= {0, 1, 2}
    if not replacement:
        for start in range(0, len(walk) - length + 1, length):
            assert set(walk[start : start + length]) == set(positions)
