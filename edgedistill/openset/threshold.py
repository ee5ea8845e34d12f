"""The rejection threshold, calibrated on known images of the source domains."""

from fractions import Fraction
from math import ceil, floor, inf

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DivergedError, UsageError

# Widths below the quantile within which scores count as too close to cut between them, as shares
# of the scores' range and of the quantile. Another runtime or batch size moves a float32 score by
# about 1e-7 of its size.
_OF_RANGE = 1e-5
_OF_SCORE = 1e-6


def calibrate(scores: NDArray[np.floating], target_keep_rate: float = 0.95) -> float:
    """Split-conformal threshold that keeps at least the share `target_keep_rate` of known images.

    `scores` [N] are the scores of held-out known images (higher = more known). An image is
    accepted if and only if its score >= the returned threshold.

    With alpha = 1 - target_keep_rate and k = floor(alpha * (N + 1)), the threshold is that of
    `threshold_keeping` for all but k - 1 scores: it lies closely below the k-th smallest score, in
    a gap between two scores. It is -inf (accept everything) when k = 0, that is when N < 1/alpha -
    1, see `images_needed`.

    Guarantee: if the N calibration images and a new known image are exchangeable, the new image
    is accepted with probability >= target_keep_rate, over the draw of all N + 1; if the scores also
    have no ties, with probability < target_keep_rate + 1 / (N + 1), but for the chance that its
    score falls into the width of `threshold_keeping`. An image of a new domain is not exchangeable
    with source images, so there the share kept is a measurement, not a guarantee.
    (Vovk, Gammerman & Shafer 2005; Lei et al. 2018, arXiv 1604.04173.)

    Raises UsageError if `target_keep_rate` is not in (0, 1], DivergedError if a score is not
    finite.
    """
    values = np.asarray(scores, np.float64).ravel()
    k = floor(_alpha(target_keep_rate) * (values.size + 1))
    if k == 0:
        _refuse_not_finite(values)
        return -inf
    return threshold_keeping(values, values.size - k + 1)


def threshold_keeping(scores: NDArray[np.floating], count: int) -> float:
    """The threshold that keeps at least the `count` highest of N scores, between two of them.

    Scores near the `count`-th highest one, s, count as tied with it: those at most a width w below,
    w = 1e-5 of the range of all scores or 1e-6 of |s|, the larger. Of s and these, the one with the
    widest gap to the next lower score is the last that is kept. The threshold lies in that gap, w
    below that score or in the middle, whichever is higher, in float32 where a float32 lies there;
    where all lower scores are tied, it is w below the lowest. A threshold that equals a score would
    decide by that score's last bit, which differs between runtimes and batch sizes.

    Raises ValueError unless 1 <= count <= N, DivergedError if a score is not finite.
    """
    values = np.sort(np.asarray(scores, np.float64).ravel())
    if not 1 <= count <= values.size:
        raise ValueError(f"{count} of {values.size} scores cannot be kept")
    _refuse_not_finite(values)
    position = values.size - count
    quantile = values[position]
    width = max(_OF_RANGE * float(values[-1] - values[0]), _OF_SCORE * abs(float(quantile)))
    width = width or float(np.finfo(np.float32).tiny)
    first = int(np.searchsorted(values, quantile - width))
    if first == 0:
        return _between(values[0], width, -inf)
    low, high = values[first - 1 : position], values[first : position + 1]
    widest = int(np.argmax(high - low))
    return _between(high[widest], width, low[widest])


def images_needed(target_keep_rate: float) -> int | None:
    """The fewest images of which `calibrate` rejects any; None where all are to be kept.

    19 for 0.95, 49 for 0.98. Raises UsageError if `target_keep_rate` is not in (0, 1].
    """
    alpha = _alpha(target_keep_rate)
    return ceil(1 / alpha) - 1 if alpha else None


def too_few_images(images: int, target_keep_rate: float) -> str | None:
    """A line about calibration images too few to reject any; None where they are enough.

    Raises UsageError if `target_keep_rate` is not in (0, 1].
    """
    needed = images_needed(target_keep_rate)
    if needed is None or images >= needed:
        return None
    return (
        f"{images} validation images of known classes are too few to calibrate a threshold that "
        f"keeps {100 * target_keep_rate:g} %: {needed} are needed; nothing will be rejected, by "
        "the student or by its teacher; add images, or lower openset.keep"
    )


def _alpha(target_keep_rate: float) -> Fraction:
    """The share to reject, of the decimal a user wrote: (1 - 0.9) * 10 is below 1 in floats."""
    if not 0 < target_keep_rate <= 1:
        raise UsageError(
            f"target_keep_rate is {target_keep_rate}; it is a share of known images, in (0, 1]"
        )
    return 1 - Fraction(repr(float(target_keep_rate)))


def _between(high: float, width: float, low: float) -> float:
    """A number in (low, high], `width` below `high` or in the middle, as a float32 if it can be."""
    middle = high - min(width, (high - low) / 2)
    rounded = float(np.float32(middle))
    if low < rounded <= high:
        return rounded
    return float(middle if low < middle <= high else high)


def _refuse_not_finite(values: NDArray[np.float64]) -> None:
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise DivergedError(
            f"{broken} of {values.size} calibration scores are not a finite number; the student "
            "has diverged: lower the learning rate and train again"
        )
