import numpy as np

from edgedistill.report import Kind, kinds, sample_rows

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
