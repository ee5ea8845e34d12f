import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from edgedistill.errors import EdgeDistillError
from edgedistill.openset.scores import SCORES, compute

LOGITS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
COSINES = np.random.default_rng(1).uniform(-1, 1, size=(7, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_softmax", softmax(LOGITS.astype(np.float64), axis=1).max(1)),
        ("max_logit", LOGITS.max(1)),
        ("energy", logsumexp(LOGITS.astype(np.float64), axis=1)),
        ("max_cosine", COSINES.max(1)),
    ],
)
def test_each_score_is_its_formula(name: str, expected: np.ndarray) -> None:
    score = compute(name, LOGITS, COSINES)
    assert score.dtype == np.float64 and score.shape == (7,)
    np.testing.assert_allclose(score, expected, rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_half_precision_and_large_logits_do_not_overflow(name: str) -> None:
    huge = np.array([[60000, -60000], [1, 0]], np.float16)
    assert np.isfinite(compute(name, huge, huge)).all()


@pytest.mark.parametrize("name", SCORES)
def test_no_images_give_no_scores(name: str) -> None:
    assert compute(name, LOGITS[:0], COSINES[:0]).shape == (0,)


def test_a_cosine_score_without_cosines_names_the_others() -> None:
    with pytest.raises(EdgeDistillError, match=r"max_softmax, max_logit, energy$"):
        compute("max_cosine", LOGITS, None)


def test_a_score_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(EdgeDistillError, match=r"'odin'.*max_softmax.*max_cosine"):
        compute("odin", LOGITS, COSINES)
