"""The teacher against a linear probe of its own embeddings, before a student learns from it."""

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from edgedistill.methods.reliability import Reliability, measure_reliability
from edgedistill.openset.metrics import auroc

Verdict = Literal["trusted", "names", "chance"]

# One-sided; a validation set is a sample, and a small one says little.
CONFIDENCE = 0.95
# Points by which the probe must be ahead at least. A probe has labels of the very domains, so that
# it is ahead of a good teacher by a few.
MARGIN = 0.10
# The inverse regularization of CLIP's own linear probe, 0.316 for embeddings of length 10, for
# embeddings of length 1.
PROBE_C = 31.6
PROBE_ITERATIONS = 200
# Images that the probe answers at once.
_PREDICTED = 4096
_IMAGES_PER_CLASS = 32
_LEAST_PER_CLASS = 4
_IMAGES = 5000


@dataclass(frozen=True)
class TeacherCheck:
    """What a teacher is worth on source validation, shares in 0..1.

    Attributes:
        teacher: its name.
        images: validation images, all of known classes.
        accuracy: zero-shot, by the class texts.
        chance: accuracy of guessing, one over the number of classes.
        probe_accuracy: of logistic regression on the teacher's embeddings of training images; None
            where these are of one class.
        probe_images: those training images, see `probe_rows`.
        images_unknown: images of unknown classes in the source domains, none of them a test image.
        auroc: of max_cosine, validation images against those; None without any.
        gap: by how much the probe is ahead of zero-shot at least, with 95 % confidence; None
            without a probe.
        verdict: "names": the probe is ahead by more than `MARGIN`; "chance": zero-shot is not
            better than guessing; else "trusted".
        right_by_class, images_by_class: of each class, the validation images that zero-shot answers
            right, and all of them.
    """

    teacher: str
    images: int
    accuracy: float
    chance: float
    probe_accuracy: float | None
    probe_images: int
    images_unknown: int
    auroc: float | None
    gap: float | None
    verdict: Verdict
    right_by_class: tuple[int, ...] = ()
    images_by_class: tuple[int, ...] = ()

    def reliability(self) -> Reliability:
        """The odds that zero-shot is right, corrected for chance."""
        counts = torch.tensor([self.right_by_class, self.images_by_class])
        return measure_reliability(*counts)

    def as_json(self) -> dict[str, Any]:
        """The content of teacher_check.json."""
        # As JSON gives it back, which has no tuples.
        values = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def summary(check: TeacherCheck) -> str:
    """A line that says what a teacher reaches."""
    line = (
        f"teacher {check.teacher}: right on {100 * check.accuracy:.1f} % of {check.images} "
        f"source-validation images by the class names, chance {100 * check.chance:.1f} %"
    )
    if check.probe_accuracy is not None:
        line += (
            f"; a linear probe on its embeddings of {check.probe_images} training images on "
            f"{100 * check.probe_accuracy:.1f} %"
        )
    if check.auroc is not None:
        line += f"; AUROC {100 * check.auroc:.1f} % against {check.images_unknown} unknown images"
    return line


def advice(check: TeacherCheck) -> str | None:
    """A line that says what to do about a teacher that should not be distilled; else None."""
    if check.verdict == "trusted":
        return None
    if check.verdict == "names":
        assert check.probe_accuracy is not None
        return (
            f"the teacher sees the difference between the classes and the texts do not say it: "
            f"{100 * check.accuracy:.1f} % by the class names, {100 * check.probe_accuracy:.1f} % "
            "by a linear probe; write what an image shows into prompts.names, take another "
            'teacher.model, or train without one: method.name = "erm"'
        )
    return (
        f"the teacher's {100 * check.accuracy:.1f} % of {check.images} source-validation images "
        f"are no better than chance, {100 * check.chance:.1f} %; take a teacher.model that has "
        'seen images like these, or train without one: method.name = "erm"'
    )


def probe_rows(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Positions of the training images for a linear probe, ascending, int64.

    At most 32 of a class; where that could be more than 5000 in all, fewer, but at least 4. Those
    of a class are spread evenly over its images in the order given, and so over its domains.
    """
    per_class = min(_IMAGES_PER_CLASS, max(_LEAST_PER_CLASS, _IMAGES // classes))
    chosen = [np.zeros(0, np.int64)]
    for label in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == label)
        chosen.append(rows[spread(len(rows), per_class)])
    return np.sort(np.concatenate(chosen))


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the positions 0..count-1, evenly spaced, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def check_teacher(
    name: str,
    answers: NDArray[np.int64],
    scores: NDArray[np.floating],
    classes: int,
    embeddings: NDArray[np.floating],
    labels: NDArray[np.int64],
    train_embeddings: NDArray[np.floating],
    train_labels: NDArray[np.int64],
) -> TeacherCheck:
    """A teacher's zero-shot answers to source-domain images beside a linear probe's.

    Args:
        name: of the teacher.
        answers: for N images the class whose text is nearest, int64 `[N]`.
        scores: cosine with that text, `[N]`.
        classes: how many there are.
        embeddings: of the same images, unit norm, `[N, D]`.
        labels: int64 `[N]`: validation images, and -1 for images of unknown classes.
        train_embeddings: of the M training images that `probe_rows` chose, `[M, D]`.
        train_labels: int64 `[M]`.
    """
    known = labels >= 0
    truth = labels[known]
    right, chance = answers[known] == truth, 1 / classes
    probe = _probe(train_embeddings, train_labels, embeddings[known])
    gap = None if probe is None else least_gap(right, probe == truth)
    return TeacherCheck(
        teacher=name,
        images=len(truth),
        accuracy=float(right.mean()),
        chance=chance,
        probe_accuracy=None if probe is None else float((probe == truth).mean()),
        probe_images=len(train_labels),
        images_unknown=int((~known).sum()),
        auroc=auroc(scores, known),
        gap=gap,
        verdict=_verdict(right, chance, gap),
        right_by_class=tuple(np.bincount(truth[right], minlength=classes).tolist()),
        images_by_class=tuple(np.bincount(truth, minlength=classes).tolist()),
    )


def _verdict(right: NDArray[np.bool_], chance: float, gap: float | None) -> Verdict:
    if gap is not None and gap > MARGIN:
        return "names"
    better = binomtest(int(right.sum()), len(right), chance, "greater")
    return "trusted" if better.pvalue <= 1 - CONFIDENCE else "chance"


def least_gap(right: NDArray[np.bool_], better: NDArray[np.bool_]) -> float:
    """Lower confidence bound of a difference of two accuracies on the same images, `better` first.

    Only images that one answers right and the other wrong tell them apart. Given their number, how
    many `better` answers is binomial, whose one-sided Clopper-Pearson bound is exact at 95 %.
    """
    ahead, behind = int((better & ~right).sum()), int((right & ~better).sum())
    if ahead + behind == 0:
        return 0.0
    test = binomtest(ahead, ahead + behind, alternative="greater")
    low = test.proportion_ci(CONFIDENCE, method="exact").low
    return float((2 * low - 1) * (ahead + behind) / len(right))


def _probe(
    train: NDArray[np.floating], labels: NDArray[np.int64], val: NDArray[np.floating]
) -> NDArray[np.int64] | None:
    """Classes that logistic regression on `train` answers for `val`; None with one class."""
    if len(np.unique(labels)) < 2:
        return None
    probe = LogisticRegression(C=PROBE_C, max_iter=PROBE_ITERATIONS)
    with warnings.catch_warnings():
        # The last digits of a probe's weights do not matter here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train, labels)
    # A part at a time: it makes a float64 for each image and class.
    starts = range(0, len(val), _PREDICTED)
    parts = [probe.predict(val[start : start + _PREDICTED]) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *parts])
