"""Mixed views: what is mixed with what, by how much, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.data.images import ImageSet
from edgedistill.data.mixing import draw_mixing, draw_partners, mixed_hashes
from edgedistill.data.pixels import to_chw_float
from edgedistill.data.views import Mixing, ViewBatch, ViewSpec, draw_views, render_views

PLAIN = ViewSpec(0, (1, 1), (1, 1), 0, 0, 0, 0, 0, 0)
MIXED = replace(PLAIN, mix=0.5)
COUNT = 400
GRAYS = np.linspace(0, 250, COUNT).astype(np.uint8)[:, None, None, None]
IMAGES = ImageSet.from_array(np.broadcast_to(GRAYS, (COUNT, 8, 8, 3)).copy())
ALL, FIRST = np.arange(COUNT), np.zeros(COUNT, np.int64)


def cut(spec: ViewSpec, positions: NDArray[np.int64], size: int = 8) -> Tensor:
    """The first view of some images."""
    numbers = np.zeros(len(positions), np.int64)
    parameters = draw_views(spec, (IMAGES.paths[p] for p in positions), numbers)
    mixing = draw_mixing(spec, IMAGES, positions, numbers, torch.from_numpy)
    pixels = torch.from_numpy(IMAGES[positions])
    return ViewBatch(pixels, torch.from_numpy(parameters), mixing).render(size)


def test_about_the_share_asked_for_is_mixed_half_of_it_by_boxes() -> None:
    partners = draw_partners(MIXED, IMAGES, ALL, FIRST)
    assert len(partners.rows) == pytest.approx(0.5 * COUNT, rel=0.15)
    boxed = partners.boxes.any(1)
    assert boxed.mean() == pytest.approx(0.5, abs=0.1)
    assert partners.shares.mean() == pytest.approx(0.5, abs=0.06)
    assert partners.positions.min() >= 0 and partners.positions.max() < COUNT
    assert len(np.unique(partners.positions)) > COUNT / 4
    left, top, right, bottom = partners.boxes[boxed].T
    # At the border a box is cut; no box is larger than its share says.
    areas = (right - left) * (bottom - top)
    assert (areas <= 1 - partners.shares[boxed] + 1e-6).all() and (areas > 0).all()


def test_a_mixed_view_is_the_same_in_any_batch() -> None:
    whole = cut(MIXED, ALL)
    some = np.array([301, 7, 7, 40])
    assert torch.equal(cut(MIXED, some), whole[some])


def test_the_other_views_are_what_they_are_without_mixing() -> None:
    partners = draw_partners(MIXED, IMAGES, ALL, FIRST)
    others = np.setdiff1d(ALL, partners.rows)
    assert torch.equal(cut(MIXED, ALL)[others], cut(PLAIN, ALL)[others])


def test_what_is_mixed_is_the_weighted_sum_or_a_box_of_the_other_image() -> None:
    partners, views = draw_partners(MIXED, IMAGES, ALL, FIRST), cut(MIXED, ALL, size=16)
    plain = cut(PLAIN, ALL)[:, 0, 0, 0]
    for row, other, share, box in zip(
        partners.rows, partners.positions, partners.shares, partners.boxes, strict=True
    ):
        own, there, values = float(plain[row]), float(plain[other]), views[row, 0]
        if box.any():
            left, top, right, bottom = box
            places = (np.arange(16) + 0.5) / 16
            inside = np.outer(
                (places >= top) & (places < bottom), (places >= left) & (places < right)
            )
            expected = np.where(inside, there, own)
        else:
            expected = np.full((16, 16), share * own + (1 - share) * there)
        assert values.numpy() == pytest.approx(expected, abs=1e-5)


def test_some_rows_of_a_mixed_batch() -> None:
    mixing = draw_mixing(MIXED, IMAGES, ALL, FIRST, torch.from_numpy)
    assert isinstance(mixing, Mixing)
    parameters = torch.from_numpy(draw_views(MIXED, IMAGES.paths, FIRST))
    batch = ViewBatch(torch.from_numpy(IMAGES[:]), parameters, mixing)
    rows = torch.tensor([3, 300])
    assert torch.equal(batch.render(8, rows), batch.render(8)[rows])
    assert torch.equal(
        batch.mixing.apply(render_views(to_chw_float(batch.pixels), parameters, 8)),  # type: ignore[union-attr]
        batch.render(8),
    )


def test_the_hash_of_mixed_pixels_changes_with_either_image() -> None:
    hashes = np.arange(1, COUNT + 1, dtype=np.uint64)
    before = mixed_hashes(MIXED, IMAGES, hashes, 2)
    assert (before > 0).all()
    partners = draw_partners(MIXED, IMAGES, ALL, FIRST)
    row, other = int(partners.rows[0]), int(partners.positions[0])
    changed = hashes.copy()
    changed[other] += np.uint64(1000)
    after = mixed_hashes(MIXED, IMAGES, changed, 2)
    assert after[row] != before[row] and after[other] != before[other]
    assert (after == before).mean() > 0.9
