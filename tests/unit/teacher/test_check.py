"""The teacher against a linear probe of its own embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta

from edgedistill.teacher.check import (
    TeacherCheck,
    advice,
    check_teacher,
    least_gap,
    probe_rows,
    spread,
    summary,
)

Floats = NDArray[np.float64]
CLASSES, IMAGES = 4, 400


def clusters(seed: int, count: int = IMAGES) -> tuple[Floats, NDArray[np.int64]]:
    """Unit-norm embeddings around four axes of eight, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    points = np.eye(8)[labels] + rng.normal(size=(count, 8)) * 0.15
    return points / np.linalg.norm(points, axis=1, keepdims=True), labels


def checked(texts: Floats, count: int = IMAGES, unknown: int = 0) -> TeacherCheck:
    """A teacher whose texts are `texts` [C, 8], on validation images of the clusters."""
    embeddings, labels = clusters(0, count)
    train_embeddings, train_labels = clusters(1)
    rows = probe_rows(train_labels, CLASSES)
    far = np.tile(np.eye(8)[7], (unknown, 1))
    everything = np.concatenate([embeddings, far])
    cosines = everything @ texts.T
    return check_teacher(
        "made",
        cosines.argmax(1),
        cosines.max(1),
        CLASSES,
        everything,
        np.concatenate([labels, np.full(unknown, -1)]),
        train_embeddings[rows],
        train_labels[rows],
    )


GOOD = np.eye(8)[:CLASSES]
# Two texts are swapped: half of the images are called by each other's name.
SWAPPED = GOOD[[1, 0, 2, 3]]
# Every image resembles the first text most.
BLIND = np.concatenate([np.ones((1, 8)), -np.eye(8)[:3]])


def test_a_good_teacher_is_trusted() -> None:
    check = checked(GOOD, unknown=30)
    assert check.verdict == "trusted" and advice(check) is None
    assert check.accuracy == 1.0 and check.chance == 0.25
    assert check.probe_accuracy == 1.0 and check.gap == 0.0
    assert (check.images, check.images_unknown, check.probe_images) == (IMAGES, 30, 128)
    assert check.auroc == 1.0


def test_without_unknown_images_there_is_no_auroc() -> None:
    check = checked(GOOD)
    assert (check.auroc, check.images_unknown) == (None, 0)
    assert "AUROC" not in summary(check)


def test_names_that_do_not_fit_are_said_and_what_to_do() -> None:
    check = checked(SWAPPED)
    assert check.verdict == "names" and check.gap is not None and 0.4 < check.gap < 0.6
    text = advice(check) or ""
    assert "prompts.names" in text and "teacher.model" in text and "erm" in text
    assert f"{100 * check.accuracy:.1f} %" in text


def test_a_gap_that_chance_explains_is_no_reason() -> None:
    # 3 of 8 images behind the probe: 37 points, with too few images to know.
    few = checked(SWAPPED, count=8)
    assert few.probe_accuracy is not None and few.probe_accuracy - few.accuracy > 0.2
    assert few.verdict != "names"


def test_a_teacher_at_chance_with_a_probe_of_one_class() -> None:
    embeddings, labels = clusters(0)
    check = check_teacher(
        "blind",
        (embeddings @ BLIND.T).argmax(1),
        (embeddings @ BLIND.T).max(1),
        CLASSES,
        embeddings,
        labels,
        embeddings[:5],
        np.zeros(5, np.int64),
    )
    assert (check.verdict, check.probe_accuracy, check.gap) == ("chance", None, None)
    text = advice(check) or ""
    assert "25.0 %" in text and "teacher.model" in text and "probe" not in summary(check)


def test_the_gap_is_the_exact_bound_on_images_that_tell_the_two_apart() -> None:
    right = np.array([1] * 70 + [0] * 30, bool)
    better = np.array([1] * 66 + [0] * 4 + [1] * 20 + [0] * 10, bool)
    # 20 ahead, 4 behind, of 100: Clopper and Pearson's lower bound of 20 in 24.
    low = beta.ppf(0.05, 20, 5)
    assert least_gap(right, better) == pytest.approx((2 * low - 1) * 0.24)
    assert least_gap(right, right) == 0.0
    assert least_gap(better, right) < 0


@pytest.mark.parametrize(
    ("classes", "per_class"), [(2, 32), (100, 32), (200, 25), (1000, 5), (5000, 4)]
)
def test_images_of_a_probe_are_bounded_and_spread(classes: int, per_class: int) -> None:
    labels = np.repeat(np.arange(-1, classes), 40)
    rows = probe_rows(labels, classes)
    assert np.bincount(labels[rows]).tolist() == [per_class] * classes
    of_first = rows[labels[rows] == 0] - 40
    assert (of_first[0], of_first[-1]) == (0, 39)
    assert np.ptp(np.diff(of_first)) <= 1
    assert (np.diff(rows) > 0).all()


def test_few_rows_are_all_taken() -> None:
    assert spread(3, 32).tolist() == [0, 1, 2]
    assert spread(0, 32).tolist() == [] == probe_rows(np.full(3, -1), 2).tolist()
    assert spread(9, 1).tolist() == [0]
