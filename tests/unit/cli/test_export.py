"""The export command's verdict on int8: faster, slower, or no difference."""

from __future__ import annotations

import pytest

from edgedistill.cli.export import int8_verdict


@pytest.mark.parametrize(
    ("time_ratio", "better"),
    [
        (0.35, "int8 is the faster file"),
        (0.94, "int8 is the faster file"),
        # Hardly faster, and slower.
        (0.97, "fp32 is the better file"),
        (1.3, "fp32 is the better file"),
    ],
)
def test_the_better_file_is_named(time_ratio: float, better: str) -> None:
    text = int8_verdict(time_ratio)
    assert text.startswith(better) and f"{time_ratio:.2f} of fp32's time" in text
