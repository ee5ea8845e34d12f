import numpy as np

from edgedistill.report import Kind, kinds, sample_answers, sample_rows
from edgedistill.report.data import worst_confusions

LABELS = np.array([0, 0, 1, -1, -1, 1])
PREDICTIONS = np.array([0, 1, 1, 0, 1, 0])
ACCEPTED = np.array([True, True, False, False, True, False])


def test_each_answer_has_one_kind() -> None:
    assert kinds(LABELS, PREDICTIONS, ACCEPTED) == [
        Kind.CORRECT,
        Kind.MISCLASSIFIED,
        Kind.FALSE_REJECT,
        Kind.TRUE_REJECT,
        Kind.FALSE_ACCEPT,
        Kind.FALSE_REJECT,
    ]


def test_every_kind_is_sampled_up_to_its_quota() -> None:
    repeated = [np.tile(array, 20) for array in (LABELS, PREDICTIONS, ACCEPTED)]
    rows = sample_rows(*repeated, per_kind=4, seed=1)
    chosen = kinds(*(array[rows] for array in repeated))
    assert [chosen.count(kind) for kind in Kind] == [4] * 5
    assert len(set(rows.tolist())) == 20
    np.testing.assert_array_equal(rows, sample_rows(*repeated, per_kind=4, seed=1))
    assert not np.array_equal(rows, sample_rows(*repeated, per_kind=4, seed=2))


def test_a_kind_that_does_not_occur_is_left_out() -> None:
    rows = sample_rows(LABELS[:1], PREDICTIONS[:1], ACCEPTED[:1])
    assert rows.tolist() == [0]
    assert sample_rows(LABELS[:0], PREDICTIONS[:0], ACCEPTED[:0]).tolist() == []


def test_accepted_and_rejected_images_are_sampled_up_to_their_quota() -> None:
    accepted = np.tile([True, False, True], 30)
    rows = sample_answers(accepted, per_group=8, seed=2)
    assert accepted[rows].tolist() == [True] * 8 + [False] * 8
    assert len(set(rows.tolist())) == 16
    np.testing.assert_array_equal(rows, sample_answers(accepted, per_group=8, seed=2))
    assert sample_answers(accepted[:1]).tolist() == [0]


def test_worst_confusions_count_accepted_wrong_answers() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, -1, -1, 2])
    predictions = np.array([1, 1, 2, 0, 0, 0, 2, 2, 0])
    accepted = np.array([True, True, True, True, True, False, True, True, True])
    rows = worst_confusions(labels, predictions, accepted, ("a", "b", "c"))
    pairs = [(row["truth"], row["answer"], row["images"], row["share"]) for row in rows]
    assert pairs == [
        (None, "c", 2, 1.0),
        ("a", "b", 2, 0.5),
        ("a", "c", 1, 0.25),
        ("b", "a", 1, 0.5),
        ("c", "a", 1, 1.0),
    ]
    assert worst_confusions(labels, predictions, accepted, ("a", "b", "c"), limit=2) == rows[:2]
    assert worst_confusions(labels, labels % 3, labels < 0, ("a", "b", "c"))[0]["truth"] is None
