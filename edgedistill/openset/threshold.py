"""The rejection threshold, calibrated on known images of the source domains."""

from fractions import Fraction
from math import floor, inf

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DivergedError, UsageError


def calibrate(scores: NDArray[np.floating], target_keep_rate: float = 0.95) -> float:
    """Split-conformal threshold that keeps at least the share `target_keep_rate` of known images.

    `scores` [N] are the scores of held-out known images (higher = more known). An image is
    accepted if and only if its score >= the returned threshold.

    With alpha = 1 - target_keep_rate and k = floor(alpha * (N + 1)), the threshold is the k-th
    smallest score, or -inf (accept everything) when k = 0, that is when N < 1/alpha - 1.

    Guarantee: if the N calibration images and a new known image are exchangeable, the new image
    is accepted with probability >= target_keep_rate, over the draw of all N + 1; if the scores also
    have no ties, with probability < target_keep_rate + 1 / (N + 1). An image of a new domain is not
    exchangeable with source images, so there the share kept is a measurement, not a guarantee.
    (Vovk, Gammerman & Shafer 2005; Lei et al. 2018, arXiv 1604.04173.)

    Raises UsageError if `target_keep_rate` is not in (0, 1], DivergedError if a score is NaN.
    """
    if not 0 < target_keep_rate <= 1:
        raise UsageError(
            f"target_keep_rate is {target_keep_rate}; it is a share of known images, in (0, 1]"
        )
    values = np.asarray(scores, np.float64).ravel()
    if np.isnan(values).any():
        raise DivergedError(
            f"{int(np.isnan(values).sum())} of {values.size} calibration scores are not a number; "
            "the student has diverged: lower the learning rate and train again"
        )
    # The decimal a user wrote, not its binary neighbour: (1 - 0.9) * 10 is below 1 in floats.
    alpha = 1 - Fraction(repr(float(target_keep_rate)))
    k = floor(alpha * (values.size + 1))
    return float(np.partition(values, k - 1)[k - 1]) if k else -inf
