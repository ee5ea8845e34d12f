"""Distance of unlabelled images from source validation, by the openness score alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

# Where "acceptable discrimination" starts in Hosmer, Lemeshow & Sturdivant, Applied Logistic
# Regression, 3rd edition 2013, chapter 5.
FAR_AUROC = 0.7
FAR_P_VALUE = 0.01


def describe_unlabelled(
    val_scores: NDArray[np.floating], scores: NDArray[np.floating], threshold: float
) -> dict[str, Any]:
    """What can be said of unlabelled images: nothing of it is a metric of right answers.

    Args:
        val_scores: `[M]`, scores of known source-validation images.
        scores: `[N]`, scores of the unlabelled images.
        threshold: images of a lower score are rejected.

    Returns:
        "images"; "acceptance": share that is answered with a class, None without images;
        "score_histogram": see `score_histograms`; "shift": see `score_shift`.
    """
    return {
        "images": len(scores),
        "acceptance": float(np.mean(scores >= threshold)) if len(scores) else None,
        "score_histogram": score_histograms(val_scores, scores),
        "shift": score_shift(val_scores, scores),
    }


def score_shift(
    val_scores: NDArray[np.floating], scores: NDArray[np.floating]
) -> dict[str, Any] | None:
    """Shift of scores below those of source validation, with a verdict.

    Args:
        val_scores: `[M]`, scores of known source-validation images.
        scores: `[N]`, scores of images that nobody labelled.

    Returns:
        "auroc": probability that a validation image outscores one of the others, ties counted
        half; 0.5 where the score cannot tell them apart. "p_value": of the one-sided Mann-Whitney
        U test that it is no more than 0.5. "bound": `FAR_AUROC`. "far": whether the AUROC reaches
        the bound and the p-value is at most `FAR_P_VALUE`, so that a handful of images is never
        called far by chance. None where either has no image.
    """
    if not len(val_scores) or not len(scores):
        return None
    test = mannwhitneyu(
        np.asarray(val_scores, np.float64),
        np.asarray(scores, np.float64),
        alternative="greater",
        method="asymptotic",
    )
    area = float(test.statistic) / (len(val_scores) * len(scores))
    # Where all scores are equal the test has no value: nothing tells the images apart.
    p_value = float(test.pvalue) if np.isfinite(test.pvalue) else 1.0
    return {
        "auroc": area,
        "p_value": p_value,
        "bound": FAR_AUROC,
        "far": area >= FAR_AUROC and p_value <= FAR_P_VALUE,
    }


def score_histograms(
    val_scores: NDArray[np.floating], scores: NDArray[np.floating], bins: int = 40
) -> dict[str, Any]:
    """Counts of both groups' scores in equal bins over the range of all of them.

    Returns:
        "edges": `bins + 1` scores, ascending; "source_val", "target": `bins` counts each. Empty
        lists where there is no score.
    """
    together = np.concatenate([val_scores, scores]).astype(np.float64)
    if not together.size:
        return {"edges": [], "source_val": [], "target": []}
    edges = np.histogram_bin_edges(together, bins)
    return {
        "edges": edges.tolist(),
        "source_val": np.histogram(val_scores, edges)[0].tolist(),
        "target": np.histogram(scores, edges)[0].tolist(),
    }
