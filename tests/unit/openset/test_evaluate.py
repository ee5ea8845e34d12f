import json

import numpy as np
import pytest
import torch
from culprits import raises

from edgedistill.errors import DivergedError
from edgedistill.openset import (
    SCORES,
    Outputs,
    ProbabilityRange,
    calibrate,
    compute_metrics,
    evaluate,
)
from edgedistill.openset.head import OpenSetHead


def _answers(score: str, logits: np.ndarray, labels: np.ndarray) -> Outputs:
    """What the head answers to some logits, their tanh standing for cosines."""
    classes = logits.shape[1]
    cosines = torch.from_numpy(np.tanh(logits))
    texts = torch.eye(classes, dtype=cosines.dtype)
    head = OpenSetHead(score, texts=texts, vocabulary=-texts)
    label, score, probabilities = (t.numpy() for t in head(torch.from_numpy(logits), cosines))
    return Outputs(label, score, ProbabilityRange.of(probabilities), labels)


def _outputs(
    score: str = "max_logit", n: int = 60, unknown: float = 0.3, classes: int = 3
) -> Outputs:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, classes, size=n)
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 2.5
    stranger = rng.random(n) < unknown
    logits[stranger] = rng.normal(size=(int(stranger.sum()), classes))
    return _answers(score, logits, np.where(stranger, -1, labels))


@pytest.mark.parametrize("score", SCORES)
def test_every_score_gives_every_metric(score: str) -> None:
    outputs = _outputs(score)
    threshold = calibrate(outputs.scores[outputs.labels >= 0], 0.9)
    result = evaluate(outputs, threshold=threshold, known=["a", "b", "c"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert set(result) == {
        "accuracy",
        "h_score",
        "oracle_h_score",
        "grid_mean_h_score",
        "best_h_score",
        "auroc",
        "fpr95",
        "oscr",
        "known_acceptance",
        "unknown_rejection",
        "images_known",
        "images_unknown",
        "per_class",
    }
    assert result["images_known"] + result["images_unknown"] == 60
    assert 0.9 <= result["known_acceptance"] < 0.95
    assert 0.5 < result["auroc"] <= 1 and result["oscr"] <= result["accuracy"]
    assert result["h_score"] <= result["best_h_score"] + 1e-12
    assert sum(row["images"] for row in result["per_class"]) == result["images_known"]
    weighted = sum(r["images"] * r["accuracy"] for r in result["per_class"])
    assert weighted / result["images_known"] == pytest.approx(result["accuracy"])


def test_the_deployed_h_score_is_its_definition() -> None:
    outputs = _answers(
        "max_logit",
        np.array([[3.0, 0], [0, 2.0], [1.0, 0], [0, 0.5], [2.5, 0]]),
        np.array([0, 0, 0, -1, -1]),
    )
    result = evaluate(outputs, threshold=1.0, known=["a", "b"])
    assert result["known_acceptance"] == 1.0 and result["unknown_rejection"] == 0.5
    assert result["h_score"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


def test_the_oracle_does_not_depend_on_the_runs_own_score() -> None:
    known = ["a", "b", "c"]
    results = [evaluate(_outputs(s), threshold=0.0, known=known) for s in SCORES]
    assert len({r["oracle_h_score"] for r in results}) == 1


@pytest.mark.parametrize(("unknown", "empty"), [(0.0, "images_unknown"), (1.0, "images_known")])
def test_one_kind_of_image_leaves_open_set_metrics_out(unknown: float, empty: str) -> None:
    result = evaluate(_outputs("energy", unknown=unknown), threshold=1.0, known=["a", "b", "c"])
    assert result[empty] == 0
    for name in ("h_score", "oracle_h_score", "best_h_score", "auroc", "fpr95", "oscr"):
        assert result[name] is None
    assert (result["accuracy"] is None) == (unknown == 1.0)


def test_no_images_at_all() -> None:
    result = evaluate(_outputs("max_softmax", n=0), threshold=0.5, known=["a", "b", "c"])
    assert result["accuracy"] is None and result["images_known"] == 0


def test_accepting_everything_needs_no_finite_threshold() -> None:
    result = evaluate(_outputs(), threshold=-np.inf, known=["a", "b", "c"])
    assert result["known_acceptance"] == 1.0 and result["h_score"] == 0.0


def test_metrics_of_the_range_are_those_of_all_probabilities() -> None:
    rng = np.random.default_rng(4)
    logits = torch.from_numpy(rng.normal(size=(50, 7)).astype(np.float32))
    labels = rng.integers(-1, 7, size=50)
    answers = OpenSetHead("max_logit")(logits, None)
    label, score, *extremes = (t.numpy() for t in answers.condensed())
    assert all(array.shape == (50,) for array in (label, score, *extremes))
    condensed, full = (
        compute_metrics(label, score, probabilities, labels, 0.5)
        for probabilities in (ProbabilityRange(*extremes, 7), answers.probabilities.numpy())
    )
    assert condensed == full and condensed["oracle_h_score"] is not None


def test_joined_answers_are_measured_together() -> None:
    scores, labels = np.array([0.9, 0.2, 0.4]), np.array([0, 1, -1])
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]])

    def part(rows: slice) -> Outputs:
        of = ProbabilityRange.of(probabilities[rows])
        return Outputs(of.top, scores[rows], of, labels[rows])

    known = ("a", "b")
    together = evaluate(part(slice(0, 2)).joined(part(slice(2, 3))), threshold=0.3, known=known)
    assert together == evaluate(part(slice(0, 3)), threshold=0.3, known=known)
    assert together["auroc"] == 0.5


def test_a_diverged_student_is_named() -> None:
    logits = np.zeros((4, 2))
    logits[1] = np.nan
    with raises(DivergedError, "1 of 4 images"):
        _answers("max_logit", logits, np.zeros(4, np.int64))


def test_shapes_must_agree() -> None:
    four, probabilities = np.zeros(4, np.int64), ProbabilityRange.of(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="do not fit"):
        Outputs(four, np.zeros(4), probabilities, four[:3])
    with pytest.raises(ValueError, match="do not fit"):
        Outputs(four, np.zeros((4, 2)), probabilities, four)
    with pytest.raises(ValueError, match="labels must lie"):
        Outputs(four, np.zeros(4), probabilities, np.full(4, 2))
    with pytest.raises(ValueError, match="class names"):
        evaluate(_outputs(), threshold=0.0, known=["a"])
