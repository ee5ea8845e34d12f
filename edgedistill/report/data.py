"""Data of a run's report, and the kinds of answers to one image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Kind(Enum):
    """Kind of an answer to a known or unknown image. The value is the heading in the report."""

    CORRECT = "Right: known class, accepted, correct answer"
    MISCLASSIFIED = "Wrong: known class, accepted, another class answered"
    FALSE_REJECT = "Lost: known class, rejected as unknown"
    TRUE_REJECT = "Caught: unknown class, rejected"
    FALSE_ACCEPT = "Fooled: unknown class, accepted as known"


def kinds(
    labels: NDArray[np.integer], predictions: NDArray[np.integer], accepted: NDArray[np.bool_]
) -> list[Kind]:
    """The kind of every answer.

    Args:
        labels: int `[N]`, -1 for unknown.
        predictions: int `[N]`, arg-max classes.
        accepted: bool `[N]`.
    """
    known = labels >= 0
    right = predictions == labels
    conditions = [known & accepted & right, known & accepted, known, ~accepted]
    index = np.select(conditions, [0, 1, 2, 3], default=4)
    every = list(Kind)
    return [every[i] for i in index]


def sample_rows(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    accepted: NDArray[np.bool_],
    *,
    per_kind: int = 8,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Rows of up to `per_kind` images of each kind, drawn without looking at the scores.

    Every kind has as many images, whatever its share. Other arguments as in `kinds`.

    Returns:
        int64 `[n]`, sorted by kind, then by row.
    """
    rng = np.random.default_rng(seed)
    every = np.array([kind.name for kind in kinds(labels, predictions, accepted)])
    chosen = [np.zeros(0, np.int64)]
    for kind in Kind:
        rows = np.flatnonzero(every == kind.name)
        chosen.append(np.sort(rng.permutation(rows)[:per_kind]))
    return np.concatenate(chosen)


def sample_answers(
    accepted: NDArray[np.bool_], *, per_group: int = 24, seed: int = 0
) -> NDArray[np.int64]:
    """Rows of up to `per_group` accepted images and as many rejected ones, drawn at random.

    Args:
        accepted: bool `[N]`.

    Returns:
        int64 `[n]`, the accepted ones first, each group ascending.
    """
    rng = np.random.default_rng(seed)
    groups = (np.flatnonzero(accepted), np.flatnonzero(~accepted))
    return np.concatenate([np.sort(rng.permutation(rows)[:per_group]) for rows in groups])


def worst_confusions(
    labels: NDArray[np.integer],
    predictions: NDArray[np.integer],
    accepted: NDArray[np.bool_],
    known: Sequence[str],
    limit: int = 30,
) -> list[dict[str, Any]]:
    """The wrong classes that are answered most often, over accepted images.

    Args:
        known: class names, in label order; other arguments as in `kinds`.

    Returns:
        At most `limit` mappings, the most frequent first: truth (None for unknown), answer, images,
        and share of all images of that truth.
    """
    wrong = accepted & (predictions != labels)
    pairs = (labels[wrong].astype(np.int64) + 1) * len(known) + predictions[wrong]
    codes, counts = np.unique(pairs, return_counts=True)
    # Of equal counts the lower code, whatever the sort does with ties.
    order = np.lexsort((codes, -counts))[:limit]
    images = np.bincount(labels + 1, minlength=len(known) + 1)
    rows = []
    for code, count in zip(codes[order].tolist(), counts[order].tolist(), strict=True):
        truth, answer = divmod(code, len(known))
        rows.append(
            {
                "truth": known[truth - 1] if truth else None,
                "answer": known[answer],
                "images": count,
                "share": count / int(images[truth]),
            }
        )
    return rows


@dataclass(frozen=True)
class AnsweredImages:
    """Images to show with their answers, n of them."""

    images: NDArray[np.uint8]  # [n, H, W, 3] RGB
    predictions: NDArray[np.integer]  # [n], arg-max of the known classes
    scores: NDArray[np.floating]  # [n]
    accepted: NDArray[np.bool_]  # [n]


@dataclass(frozen=True)
class SampleImages(AnsweredImages):
    """Test images to show, with their true classes as well."""

    names: Sequence[str]  # true class name of each image, of unknown ones too
    labels: NDArray[np.integer]  # [n], -1 = unknown


@dataclass(frozen=True)
class FeatureMaps:
    """Images as points.

    Attributes:
        points: whose features ("student", "teacher") -> float `[n, 2]`.
        labels: int `[n]`, -1 for unknown.
    """

    points: Mapping[str, NDArray[np.floating]]
    labels: NDArray[np.integer]


@dataclass(frozen=True)
class ReportData:
    """A finished run, as arrays and plain values.

    `metrics` is the content of metrics.json, of which are read: "test_kind" and "sources", see
    `tested_on`; "target" (what `openset.evaluate` returns, and "domain"; None where nothing was
    measured), "unlabelled", "h_score_by_keep", "source_val" ("accuracy" and any other metric),
    "teacher" ({"target_accuracy"} or None), "start" ({"source_val", "target"} or None), "openset"
    ("score", "threshold", with None meaning that everything is accepted, and how it was
    calibrated), "seconds" (of the run), "training_seconds" (of those; falls back on "seconds"). A
    key that is missing is shown as not available.
    `history` has one mapping per logged step: "step", "lr", "val_accuracy" (may be missing or
    None), and one entry per loss term, "loss" being the total.
    """

    name: str
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    known: Sequence[str]  # class names, in label order
    source_val_scores: NDArray[np.floating]  # [M]
    source_val_correct: NDArray[np.bool_]  # [M]
    target_scores: NDArray[np.floating]  # [N], of test images or of unlabelled ones
    target_labels: NDArray[np.integer]  # [N], -1 = unknown; all -1 where nobody labelled
    target_predictions: NDArray[np.integer]  # [N], arg-max of the known classes
    samples: AnsweredImages | None  # SampleImages where there are labels
    recipe: str  # TOML text
    environment: Mapping[str, Any]
    warnings: Sequence[str] = ()  # what the data left out or may mean otherwise, a line each
    next_command: str = ""  # what to run after this run
    feature_maps: FeatureMaps | None = None  # where the recipe asks for them

    @property
    def threshold(self) -> float:
        """The calibrated threshold; -inf accepts everything."""
        value = self.metrics.get("openset", {}).get("threshold")
        return -inf if value is None else float(value)

    @property
    def score(self) -> str:
        """Name of the openness score."""
        return str(self.metrics.get("openset", {}).get("score", "score"))

    @property
    def test_kind(self) -> str:
        """Kind of the test images, see `edgedistill.data.protocols.split.TestKind`."""
        return str(self.metrics.get("test_kind", "unseen domain"))

    @property
    def test_name(self) -> str:
        """Short name of the test images for a table or a legend."""
        part = self.metrics.get("unlabelled" if self.test_kind == "unlabelled" else "target") or {}
        return "held-out" if self.test_kind == "held-out" else str(part.get("domain", "target"))

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Mask of accepted target images, bool `[N]`."""
        return np.asarray(self.target_scores >= self.threshold)
