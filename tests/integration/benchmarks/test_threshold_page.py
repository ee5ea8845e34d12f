"""The table and the picture of docs/how-to/move-a-threshold.md are what the answers say."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from benchmarks.emoji import threshold
from edgedistill.report.style import png
from edgedistill.runtime.contract import LOWEST


def images(score: list[float], right: list[int], known: list[int]) -> threshold.Scored:
    return threshold.Scored(np.array(score), np.array(right, bool), np.array(known, bool))


VALIDATION = images([float(n) for n in range(100)], [1] * 100, [1] * 100)
TARGET = images([90.0, 50.0, 10.0, 60.0, 5.0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0])


def subject(limit: float) -> threshold.Subject:
    return threshold.Subject(
        run="first",
        student="resnet18",
        method="scipd",
        precision="fp32",
        score="max_logit",
        threshold=limit,
        target_keep_rate=0.9,
        domain="sea",
    )


def test_higher_thresholds_keep_fewer_and_reject_more() -> None:
    curves = threshold.curves(VALIDATION, TARGET)
    assert len({len(values) for values in curves.values()}) == 1
    assert (np.diff(curves["known_keep_rate"]) <= 0).all() and (
        np.diff(curves["unknown_reject_rate"]) >= 0
    ).all()
    assert (
        curves["source_keep_rate"][0],
        curves["known_keep_rate"][0],
        curves["unknown_reject_rate"][0],
    ) == (1, 1, 0)
    assert (
        curves["source_keep_rate"][-1],
        curves["known_keep_rate"][-1],
        curves["unknown_reject_rate"][-1],
    ) == (0, 0, 1)
    middle = int(np.searchsorted(curves["threshold"], 70))
    assert (
        curves["known_keep_rate"][middle] == pytest.approx(1 / 3)
        and curves["unknown_reject_rate"][middle] == 1
    )
    # Accepted and right: the first; every unknown image is rejected.
    assert curves["h_score"][middle] == pytest.approx(2 * (1 / 3) / (1 / 3 + 1))


def test_the_table_has_a_row_for_every_share() -> None:
    text = threshold.part(VALIDATION, TARGET, subject(9.0))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(threshold.KEEP_RATES)
    assert (
        "3 known and 2 unknown images of `sea`" in text
        and "benchmarks.emoji.threshold first" in text
    )
    calibrated = next(row for row in rows if "calibrated" in row).split(" | ")
    assert calibrated[0] == "| 90 % (calibrated)" and float(calibrated[2]) >= 90
    assert calibrated[3:] == ["100.0", "50.0", "57.1 |"]


@pytest.mark.parametrize("limit", [9.0, LOWEST])
def test_the_picture_is_a_picture(limit: float) -> None:
    curves = threshold.curves(VALIDATION, TARGET)
    with Image.open(BytesIO(png(threshold.picture(curves, subject(limit))))) as image:
        assert image.width > 800 and image.format == "PNG"
