"""Openness scores: how much an image looks like one of the known classes. Higher = more known."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from edgedistill.errors import RecipeError

Score = Callable[[NDArray[np.floating], NDArray[np.floating] | None], NDArray[np.float64]]


def max_softmax(
    logits: NDArray[np.floating], cosines: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Largest class probability, [N, C] -> [N] (Hendrycks & Gimpel 2017, arXiv 1610.02136)."""
    return np.asarray(softmax(np.asarray(logits, np.float64), axis=1).max(axis=1), np.float64)


def max_logit(
    logits: NDArray[np.floating], cosines: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Largest logit, [N, C] -> [N] (Hendrycks et al. 2022, arXiv 1911.11132)."""
    return np.asarray(logits, np.float64).max(axis=1)


def energy(
    logits: NDArray[np.floating], cosines: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Negative free energy log(sum(exp(logits))), [N, C] -> [N], temperature 1.

    Liu et al. 2020 (arXiv 2010.03759), with the sign that makes higher mean more known.
    """
    return np.asarray(logsumexp(np.asarray(logits, np.float64), axis=1), np.float64)


def max_cosine(
    logits: NDArray[np.floating], cosines: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Largest cosine between the student's projection and a class text, [N, C] -> [N].

    Raises: EdgeDistillError when `cosines` is None: the method does not project into CLIP space.
    """
    if cosines is None:
        available = ", ".join(name for name in SCORES if name != "max_cosine")
        raise RecipeError(
            "the score max_cosine needs a method that projects into CLIP space, "
            f"and this one does not; scores available: {available}"
        )
    return np.asarray(cosines, np.float64).max(axis=1)


SCORES: dict[str, Score] = {
    "max_softmax": max_softmax,
    "max_logit": max_logit,
    "energy": energy,
    "max_cosine": max_cosine,
}


def compute(
    name: str, logits: NDArray[np.floating], cosines: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Score `name` of every image: logits [N, C] and cosines [N, C] or None -> float64 [N].

    Raises: EdgeDistillError for a name that is not in SCORES, or a score that cannot be computed.
    """
    if name not in SCORES:
        raise RecipeError(f"unknown score {name!r}; scores available: {', '.join(SCORES)}")
    return SCORES[name](logits, cosines)
