"""The open-set head: closed forms of every score, rejection, normalization."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from culprits import raises
from scipy.special import logsumexp, softmax

from edgedistill.errors import RecipeError
from edgedistill.openset import SCORES
from edgedistill.openset.head import OpenSetHead

WIDTH = 6
LOGITS = np.random.default_rng(0).normal(size=(7, 4))
TEXTS = np.random.default_rng(1).normal(size=(5, WIDTH))
VOCABULARY = np.random.default_rng(3).normal(size=(8, WIDTH))
SCALE = 2.5
PROJECTED = np.random.default_rng(2).normal(size=(7, WIDTH))


def head(score: str, **options: float) -> OpenSetHead:
    return OpenSetHead(
        score,
        texts=torch.from_numpy(TEXTS),
        vocabulary=torch.from_numpy(VOCABULARY),
        logit_scale=SCALE,
        **options,
    ).double()


def known_mass() -> np.ndarray:
    """The sum of exponentials of the known names over that of all words."""
    known, others = (np.exp(SCALE * PROJECTED @ t.T).sum(1) for t in (TEXTS, VOCABULARY))
    mass: np.ndarray = known / (known + others)
    return mass


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max_softmax", softmax(LOGITS, axis=1).max(1)),
        ("max_logit", LOGITS.max(1)),
        ("energy", logsumexp(LOGITS, axis=1)),
        ("max_cosine", (PROJECTED @ TEXTS.T).max(1)),
        ("known_mass", known_mass()),
    ],
)
def test_each_score_is_its_formula(name: str, expected: np.ndarray) -> None:
    answers = head(name)(torch.from_numpy(LOGITS), torch.from_numpy(PROJECTED))
    np.testing.assert_allclose(answers.score, expected, rtol=1e-12)
    np.testing.assert_allclose(answers.probabilities, softmax(LOGITS, axis=1), rtol=1e-12)
    assert answers.label.tolist() == LOGITS.argmax(1).tolist()


@pytest.mark.parametrize("name", SCORES)
def test_large_logits_do_not_overflow(name: str) -> None:
    huge = torch.tensor([[60000.0, -60000.0], [1.0, 0.0]])
    answers = OpenSetHead(name, texts=torch.eye(2), vocabulary=-torch.eye(2))(huge, huge)
    assert all(bool(tensor.isfinite().all()) for tensor in answers)


@pytest.mark.parametrize("name", SCORES)
def test_no_images_give_no_answers(name: str) -> None:
    answers = head(name)(torch.from_numpy(LOGITS[:0]), torch.from_numpy(PROJECTED[:0]))
    assert answers.score.shape == answers.label.shape == (0,)
    assert answers.probabilities.shape == (0, 4)


def test_an_image_is_accepted_at_its_threshold_and_rejected_above() -> None:
    logits = torch.tensor([[1.0, 3.0], [2.0, 0.0]])
    own = OpenSetHead("max_logit", threshold=3.0)
    assert own(logits, None).label.tolist() == [1, -1]
    assert own(logits, None, torch.tensor(2.0)).label.tolist() == [1, 0]
    assert OpenSetHead("max_logit")(logits, None).label.tolist() == [1, 0]


def test_pixels_are_normalized_per_channel() -> None:
    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    normalized = OpenSetHead("max_logit", mean=mean, std=std).normalize(images)
    expected = (images / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(normalized, expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize("name", [name for name, entry in SCORES.items() if entry.needs_texts])
def test_a_score_of_texts_needs_texts_and_a_projection(name: str) -> None:
    others = [other for other, entry in SCORES.items() if not entry.needs_texts]
    with raises(RecipeError, name, *others):
        OpenSetHead(name)
    with raises(RecipeError, name, *others):
        head(name)(torch.from_numpy(LOGITS), None)


def test_a_score_of_a_vocabulary_needs_one() -> None:
    with raises(RecipeError, "known_mass"):
        OpenSetHead("known_mass", texts=torch.eye(2))


def test_the_vocabulary_decides_how_known_an_image_is() -> None:
    image = torch.tensor([[1.0, 0.0]])
    near, far = (
        OpenSetHead("known_mass", texts=image, vocabulary=word, logit_scale=3.0)(image, image)
        for word in (image, -image)
    )
    assert near.score.item() == pytest.approx(0.5)
    assert far.score.item() == pytest.approx(1 / (1 + np.exp(-6)))


def test_a_score_that_does_not_exist_names_those_that_do() -> None:
    with raises(RecipeError, "odin", *SCORES):
        OpenSetHead("odin")
