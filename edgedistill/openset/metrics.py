"""Open-set metrics over arrays.

Conventions used throughout: `scores` float [N], higher = more known; `known` bool [N], the image
is of a known class; `correct` bool [N], it is known and its arg-max class is right; an image is
accepted if and only if score >= threshold. A metric that has no images to speak about is None.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, confusion_matrix, roc_auc_score, roc_curve

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]
Ints = NDArray[np.integer]


class ProbabilityRange(NamedTuple):
    """Of N images' class probabilities `[N, C]` what metrics read, C times smaller.

    Attributes:
        top: int [N], class of the largest, the first of equal ones.
        highest, lowest: float [N], the largest and the smallest.
        classes: C.
    """

    top: Ints
    highest: Floats
    lowest: Floats
    classes: int

    @classmethod
    def of(cls, probabilities: Floats) -> "ProbabilityRange":
        """The range of `probabilities` `[N, C]`."""
        return cls(
            probabilities.argmax(axis=1),
            probabilities.max(axis=1),
            probabilities.min(axis=1),
            probabilities.shape[1],
        )


def compute_metrics(
    predictions: Ints,
    scores: Floats,
    probabilities: Floats | ProbabilityRange,
    labels: Ints,
    threshold: float,
) -> dict[str, Any]:
    """Every metric under the rule "accept if score >= threshold", ready for JSON.

    Args:
        predictions: int `[N]`, arg-max classes.
        probabilities: `[N, C]` over the known classes, or their range.
        labels: int `[N]`, -1 for unknown.

    Returns:
        Shares in [0, 1], None where there are no images they could speak about (open-set metrics
        need both known and unknown), and counts. accuracy: closed-set, known images only. h_score:
        deployed, at `threshold`. oracle_h_score, grid_mean_h_score: maximum and mean over the ten
        thresholds of the HDG protocol on max softmax. best_h_score: maximum over all thresholds of
        this score. These three read the target's labels. auroc, fpr95, oscr: as below.
        known_acceptance, unknown_rejection: shares of known images kept (TPR) and of unknown ones
        rejected (TNR). images_known, images_unknown: counts.
    """
    known = labels >= 0
    correct = predictions == labels
    if not isinstance(probabilities, ProbabilityRange):
        probabilities = ProbabilityRange.of(probabilities)
    grid = seed_grid_h_scores(probabilities, labels, probabilities.classes)
    return {
        "accuracy": closed_set_accuracy(predictions, labels),
        "h_score": deployed_h_score(scores, correct, known, threshold),
        "oracle_h_score": None if grid is None else float(grid.max()),
        "grid_mean_h_score": None if grid is None else float(grid.mean()),
        "best_h_score": best_h_score(scores, correct, known),
        "auroc": auroc(scores, known),
        "fpr95": fpr95(scores, known),
        "oscr": oscr(scores, correct, known),
        "known_acceptance": known_keep_rate(scores, known, threshold),
        "unknown_rejection": unknown_reject_rate(scores, known, threshold),
        "images_known": int(known.sum()),
        "images_unknown": int((~known).sum()),
    }


def closed_set_accuracy(predictions: Ints, labels: Ints) -> float | None:
    """Share of known images whose arg-max class is right; nothing is rejected.

    `predictions` int [N], `labels` int [N] with -1 for unknown images, which never count.
    """
    return _share((predictions == labels)[labels >= 0])


def h_score(correct_known: Bools, accepted_known: Bools, accepted_unknown: Bools) -> float | None:
    """Harmonic mean of (known: right and accepted) and (unknown: rejected), over images.

    `correct_known`, `accepted_known` bool [known images]; `accepted_unknown` bool [unknown
    images]. 0 when both shares are 0; None without known or without unknown images.
    """
    right = _share(correct_known & accepted_known)
    rejected = _share(~accepted_unknown)
    if right is None or rejected is None:
        return None
    return float(_harmonic(np.float64(right), np.float64(rejected)))


def deployed_h_score(
    scores: Floats, correct: Bools, known: Bools, threshold: float
) -> float | None:
    """H-score of any score at one threshold."""
    accepted = scores >= threshold
    return h_score(correct[known], accepted[known], accepted[~known])


def known_keep_rate(scores: Floats, known: Bools, threshold: float) -> float | None:
    """Share of known images that are accepted."""
    return _share(scores[known] >= threshold)


def unknown_reject_rate(scores: Floats, known: Bools, threshold: float) -> float | None:
    """Share of unknown images that are rejected."""
    return _share(scores[~known] < threshold)


def auroc(scores: Floats, known: Bools) -> float | None:
    """Probability that a known image outscores an unknown one, ties counted half."""
    if not _both_present(known):
        return None
    return float(roc_auc_score(known, scores))


def fpr95(scores: Floats, known: Bools, tpr: float = 0.95) -> float | None:
    """Share of unknown images accepted at the highest threshold that keeps `tpr` of the known."""
    if not _both_present(known):
        return None
    false_positive, true_positive, _ = roc_curve(known, scores, drop_intermediate=False)
    return float(false_positive[np.argmax(true_positive >= tpr)])


def oscr(scores: Floats, correct: Bools, known: Bools) -> float | None:
    """Area under the correct-classification rate of known over the false-positive rate of unknown.

    Both rates are taken at every distinct score as threshold; images with equal scores enter in
    one step, joined by a straight line. Equals the probability that a known image is right and
    outscores an unknown one (ties half), so it is at most the closed-set accuracy.
    Dhamija et al. 2018 (arXiv 1811.04110).
    """
    if not _both_present(known):
        return None
    _, right, wrong = _accepted_counts(scores, correct & known, ~known)
    ccr = np.concatenate([[0.0], right / known.sum()])
    fpr = np.concatenate([[0.0], wrong / (~known).sum()])
    return float(auc(fpr, ccr))


def best_h_score(scores: Floats, correct: Bools, known: Bools) -> float | None:
    """Largest H-score over every distinct threshold: an oracle, it reads the target's labels."""
    if not _both_present(known):
        return None
    _, right, wrong = _accepted_counts(scores, correct & known, ~known)
    return float(_harmonic(right / known.sum(), 1 - wrong / (~known).sum()).max())


def seed_grid_h_scores(
    probabilities: Floats | ProbabilityRange, labels: Ints, n_known: int, steps: int = 10
) -> NDArray[np.float64] | None:
    """H-scores of the HDG evaluation protocol: a grid of thresholds on the max softmax.

    `probabilities` [N, n_known] are the softmax of every target image, or their range; `labels` int
    [N]; a label outside 0..n_known-1 is unknown. The grid runs evenly from the smallest to the
    largest entry of the whole matrix (not only the row maxima); an image is rejected if its largest
    probability is strictly below the threshold. Returns the float64 [steps] H-scores, 0/0 being 0.
    The maximum is an oracle: it reads the target's labels. Probabilities and thresholds are
    compared in float32, as there: images whose probability rounds to 1 in it tie with the last
    threshold and are kept. (arXiv 2404.09011, evaluation code.)
    """
    known = (labels >= 0) & (labels < n_known)
    if not _both_present(known):
        return None
    if not isinstance(probabilities, ProbabilityRange):
        probabilities = ProbabilityRange.of(probabilities)
    score = probabilities.highest.astype(np.float32)
    correct = known & (probabilities.top == labels)
    lowest = float(np.float32(probabilities.lowest.min()))
    grid = np.linspace(lowest, float(score.max()), steps).astype(np.float32)
    accepted = score[None, :] >= grid[:, None]
    right = (accepted & correct).sum(axis=1) / known.sum()
    rejected = (~accepted & ~known).sum(axis=1) / (~known).sum()
    return _harmonic(right, rejected)


class RiskCoverage(NamedTuple):
    """One entry per distinct score, from the strictest threshold to the one that accepts all."""

    threshold: NDArray[np.float64]
    coverage: NDArray[np.float64]  # share of images accepted
    risk: NDArray[np.float64]  # share of the accepted images that are wrong


def risk_coverage(scores: Floats, correct: Bools) -> RiskCoverage:
    """Error among accepted images against the share accepted, for known images only.

    `scores` float [N] and `correct` bool [N] of known images. Empty arrays for no images.
    (El-Yaniv & Wiener 2010, JMLR 11.)
    """
    threshold, accepted, right = _accepted_counts(scores, np.ones(len(scores), bool), correct)
    return RiskCoverage(threshold, accepted / max(len(scores), 1), 1 - right / accepted)


def confusion(predictions: Ints, labels: Ints, accepted: Bools, n_known: int) -> NDArray[np.int64]:
    """Counts int64 [n_known + 1, n_known + 1]: row = truth, column = answer; last = unknown.

    `predictions` int [N] are arg-max classes, `labels` int [N] with -1 for unknown. Rejected
    images fall in the last column.
    """
    truth = np.where(labels >= 0, labels, n_known)
    answer = np.where(accepted, predictions, n_known)
    if truth.size == 0:
        return np.zeros((n_known + 1, n_known + 1), np.int64)
    return confusion_matrix(truth, answer, labels=np.arange(n_known + 1)).astype(np.int64)


def per_class(
    predictions: Ints, labels: Ints, accepted: Bools, names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per known class: class, images, accuracy, accepted, deployed_accuracy.

    `accuracy` is closed-set, `accepted` the share accepted, `deployed_accuracy` the share that is
    right and accepted; None for a class without images. Arguments as in `confusion`.
    """
    of_class = labels >= 0
    right = predictions == labels

    def counts(mask: Bools) -> list[int]:
        return np.bincount(labels[mask & of_class], minlength=len(names)).tolist()

    columns = (counts(m) for m in (of_class, right, accepted, right & accepted))
    return [
        {
            "class": name,
            "images": images,
            "accuracy": correct / images if images else None,
            "accepted": answered / images if images else None,
            "deployed_accuracy": deployed / images if images else None,
        }
        for name, images, correct, answered, deployed in zip(names, *columns, strict=True)
    ]


def class_thirds(
    predictions: Ints, scores: Floats, labels: Ints, training: Ints, names: Sequence[str]
) -> list[dict[str, Any]]:
    """The known classes in thirds by their training images: major, middle and minor ones.

    Args:
        predictions, scores, labels: as in `compute_metrics`.
        training: int [C], images that each class was trained on; of equal ones the lower label
            comes first.
        names: C class names in label order.

    Returns:
        Rows of third, classes (names), training_images, images (known ones of these classes),
        accuracy (closed-set) and auroc (of them against all unknown images). No row for fewer than
        three classes.
    """
    if len(names) < 3:
        return []
    order = np.argsort(-np.asarray(training, np.int64), kind="stable")
    rows = []
    for third, classes in zip(("major", "middle", "minor"), np.array_split(order, 3), strict=True):
        own = np.isin(labels, classes)
        shown = own | (labels < 0)
        rows.append(
            {
                "third": third,
                "classes": [names[c] for c in classes],
                "training_images": int(np.asarray(training)[classes].sum()),
                "images": int(own.sum()),
                "accuracy": _share((predictions == labels)[own]),
                "auroc": auroc(scores[shown], own[shown]),
            }
        )
    return rows


def h2_cv(values: Sequence[float] | Floats, ddof: int = 0) -> float | None:
    """H²-CV: coefficient of variation of H-scores over hybridness levels; lower = more robust.

    std(values, ddof) / mean(values). The HDG paper's formula could not be read; this is our
    reading, with the population standard deviation by default. None when it is undefined: too
    few values, or a mean of 0.
    """
    array = np.asarray(values, np.float64)
    if array.size <= ddof or array.mean() == 0:
        return None
    return float(array.std(ddof=ddof) / array.mean())


def _share(flags: Bools) -> float | None:
    return float(np.mean(flags)) if flags.size else None


def _both_present(known: Bools) -> bool:
    return bool(known.any() and not known.all())


def _harmonic(a: Any, b: Any) -> Any:
    total = a + b
    return np.where(total > 0, 2 * a * b / np.where(total > 0, total, 1), 0.0)


def _accepted_counts(
    scores: Floats, first: Bools, second: Bools
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """For every distinct score as threshold, descending: how many of each mask are accepted."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    descending = np.asarray(scores, np.float64)[order]
    last_of_tie = np.flatnonzero(np.append(descending[1:] != descending[:-1], True)[: len(order)])
    return (
        descending[last_of_tie],
        np.cumsum(first[order], dtype=np.int64)[last_of_tie],
        np.cumsum(second[order], dtype=np.int64)[last_of_tie],
    )
