"""The reliability of a teacher's zero-shot answers, as odds, from source validation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reliability:
    """Odds that a teacher's embedding lies nearest to the text of the true class by knowledge.

    With accuracy a and chance 1/C over C classes, ``r = max(0, (a - 1/C) / (1 - 1/C))`` is the
    accuracy corrected for chance, and the odds are ``r / (1 - r)``: 0 for a teacher that guesses,
    1 where it knows every second image.

    Attributes:
        overall: of all images.
        per_class: float32 `[C]`, of the images of each class, drawn towards `overall`.
    """

    overall: float
    per_class: Tensor

    def to(self, device: torch.device) -> Reliability:
        """The same reliability on another device."""
        return Reliability(self.overall, self.per_class.to(device))


def measure_reliability(right: Tensor, images: Tensor) -> Reliability:
    """A teacher's reliability from the images that it answers right.

    Overall by Laplace's rule, ``a = (right + 1) / (images + 2)``, so that the odds of no teacher
    are infinite. Per class by a beta prior around `a`: ``a_c = (right_c + k a) / (images_c + k)``,
    k estimated from how far the classes differ beyond what sampling explains (the ANOVA estimator
    of a beta-binomial's intraclass correlation, Ridout et al. 1999, Biometrics 55), and at least 2.

    Args:
        right: of each class, the images that the teacher answers right, int64 `[C]`.
        images: of each class, int64 `[C]`.
    """
    classes = len(images)
    n, hits = images.double(), right.double()
    overall = (hits.sum() + 1) / (n.sum() + 2)
    correlation = min(_intraclass_correlation(hits, n), 1 / 3)
    if correlation > 0:
        prior = (1 - correlation) / correlation
        per_class = (hits + prior * overall) / (n + prior)
    else:
        per_class = overall.expand(classes)
    return Reliability(float(_odds(overall, classes)), _odds(per_class, classes).float().clone())


def _odds(accuracy: Tensor, classes: int) -> Tensor:
    chance = 1 / classes
    corrected = ((accuracy - chance) / (1 - chance)).clamp_min(0)
    return corrected / (1 - corrected)


def _intraclass_correlation(hits: Tensor, n: Tensor) -> float:
    """Correlation of two answers to images of a class; 0 where the classes do not differ."""
    hits, n = hits[n > 0], n[n > 0]
    total, groups = float(n.sum()), len(n)
    size = (total - float(n.square().sum()) / total) / (groups - 1) if groups > 1 else 0.0
    if total <= groups or size == 0:
        return 0.0
    share = hits / n
    mean = hits.sum() / total
    between = float((n * (share - mean).square()).sum()) / (groups - 1)
    within = float((hits * (1 - share)).sum()) / (total - groups)
    spread = between + (size - 1) * within
    return max(0.0, (between - within) / spread) if spread > 0 else 0.0
