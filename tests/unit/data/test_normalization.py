"""The map between the student's and the teacher's normalization."""

from __future__ import annotations

import pytest

from edgedistill.data.normalization import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    renormalization,
)


def test_imagenet_to_clip() -> None:
    a, b = renormalization(IMAGENET_MEAN, IMAGENET_STD, CLIP_MEAN, CLIP_STD)
    assert a == pytest.approx((0.852475, 0.857244, 0.815876), abs=1e-6)
    assert b == pytest.approx((0.013198, -0.006994, -0.008016), abs=1e-6)


@pytest.mark.parametrize("gray", [0.0, 0.5, 1.0])
def test_a_pixel_arrives_at_its_direct_normalization(gray: float) -> None:
    a, b = renormalization(IMAGENET_MEAN, IMAGENET_STD, CLIP_MEAN, CLIP_STD)
    for c in range(3):
        student = (gray - IMAGENET_MEAN[c]) / IMAGENET_STD[c]
        assert a[c] * student + b[c] == pytest.approx((gray - CLIP_MEAN[c]) / CLIP_STD[c])


def test_there_and_back_is_the_identity() -> None:
    a, b = renormalization(IMAGENET_MEAN, IMAGENET_STD, CLIP_MEAN, CLIP_STD)
    c, d = renormalization(CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD)
    for i in range(3):
        assert c[i] * (a[i] * 0.7 + b[i]) + d[i] == pytest.approx(0.7)
