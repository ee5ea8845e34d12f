"""H-score over the share of known images to keep."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.openset.evaluate import Outputs
from edgedistill.openset.metrics import deployed_h_score, known_keep_rate, unknown_reject_rate
from edgedistill.openset.threshold import calibrate

# Shares to keep that a curve has points for, beside the one a run was calibrated to.
GRID = (*(round(0.05 * n, 2) for n in range(1, 20)), 0.97, 0.99)


def h_score_by_keep(
    val_scores: NDArray[np.floating], target: Outputs, keep: float, grid: Iterable[float] = GRID
) -> dict[str, Any] | None:
    """H-score on labelled target images at the threshold that each share to keep would give.

    Every threshold is calibrated on source validation alone, but to choose among the shares by
    their H-score takes the target's labels, so the best of them is no result of a run.

    Args:
        val_scores: `[M]`, scores of known source-validation images.
        target: answers to the target's images.
        keep: the share that the run was calibrated to, which is one of the points.
        grid: the other shares, each in (0, 1).

    Returns:
        "reads": "target labels"; "points": one mapping per share, ascending, of keep, threshold
        (None where it rejects nothing), h_score, known_acceptance and unknown_rejection; "best":
        the point of the largest H-score, of equal ones that of the largest share. None unless
        there are known and unknown images.
    """
    known, correct = target.labels >= 0, target.predictions == target.labels
    if known.all() or not known.any():
        return None
    points = []
    for share in sorted({*grid, keep}):
        threshold = calibrate(val_scores, share)
        points.append(
            {
                "keep": share,
                "threshold": threshold if math.isfinite(threshold) else None,
                "h_score": deployed_h_score(target.scores, correct, known, threshold),
                "known_acceptance": known_keep_rate(target.scores, known, threshold),
                "unknown_rejection": unknown_reject_rate(target.scores, known, threshold),
            }
        )
    best = max(points, key=lambda point: (point["h_score"], point["keep"]))
    return {"reads": "target labels", "points": points, "best": best}
