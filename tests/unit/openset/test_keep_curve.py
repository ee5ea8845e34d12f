"""H-score over the share to keep."""

import numpy as np
import pytest

from edgedistill.openset import Outputs, ProbabilityRange
from edgedistill.openset.keep_curve import h_score_by_keep


def outputs(scores: list[float], labels: list[int], predictions: list[int]) -> Outputs:
    probabilities = ProbabilityRange.of(np.full((len(scores), 2), 0.5))
    return Outputs(np.array(predictions), np.array(scores), probabilities, np.array(labels))


def test_each_share_has_the_h_score_of_its_own_threshold() -> None:
    val = np.arange(1.0, 10.0)  # Nine scores: keep 0.9, 0.5 and 0.2 keep 9, 5 and 2 of them.
    target = outputs([9, 8, 6, 2, 7, 4, 0], [0, 1, 1, 0, -1, -1, -1], [0, 1, 0, 0, 0, 0, 0])
    curve = h_score_by_keep(val, target, 0.9, grid=(0.2, 0.5))
    assert curve is not None and curve["reads"] == "target labels"
    assert [point["keep"] for point in curve["points"]] == [0.2, 0.5, 0.9]
    assert [point["threshold"] for point in curve["points"]] == pytest.approx(
        [8 - 8e-5, 5 - 8e-5, 1 - 8e-5], abs=1e-6
    )
    # Right and accepted: 2/4, 2/4, 3/4; rejected: 3/3, 2/3, 1/3.
    assert [point["h_score"] for point in curve["points"]] == pytest.approx([2 / 3, 4 / 7, 6 / 13])
    assert [point["known_acceptance"] for point in curve["points"]] == [0.5, 0.75, 1.0]
    assert curve["best"] == curve["points"][0]


def test_it_takes_known_and_unknown_images() -> None:
    val = np.arange(10.0)
    assert h_score_by_keep(val, outputs([1, 2], [0, 1], [0, 1]), 0.95) is None
    assert h_score_by_keep(val, outputs([1, 2], [-1, -1], [0, 1]), 0.95) is None
