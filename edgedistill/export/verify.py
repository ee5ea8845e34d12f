"""Verification of an exported file against the torch student, on images of the run."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill.data.images import ImageSet
from edgedistill.errors import ExportError
from edgedistill.export.finished import FinishedRun
from edgedistill.export.session import BATCH, ModelOutputs, open_session, run_model
from edgedistill.runtime.contract import INPUTS, LOWEST, UNKNOWN_LABEL
from edgedistill.train.predict import predict_probabilities

TOLERANCE = 1e-4
# Enough to meet every layer with many inputs, few enough for a minute at 224 px.
IMAGES = 512


@dataclass(frozen=True)
class Agreement:
    """The agreement of two sets of answers to the same images.

    Attributes:
        images: how many were compared.
        probability, score: largest absolute differences.
        same_label: images with the same label.
        clear: images whose margins, to the next class and to the threshold, exceed `TOLERANCE`.
        clear_but_other: clear images with another label.
    """

    images: int
    probability: float
    score: float
    same_label: int
    clear: int
    clear_but_other: int


def torch_answers(run: FinishedRun, images: ImageSet, threshold: float) -> ModelOutputs:
    """Answers of the torch student, by the run's evaluation; score >= threshold is accepted."""
    predictions, scores, probabilities = predict_probabilities(
        run.student, run.openset, images, device=torch.device("cpu")
    )
    label = np.where(scores >= threshold, predictions, UNKNOWN_LABEL)
    return ModelOutputs(label, scores, probabilities)


def compare_answers(expected: ModelOutputs, actual: ModelOutputs, threshold: float) -> Agreement:
    """Differences of two sets of answers about the same images."""
    top = np.sort(expected.probabilities, axis=1)
    # Of one class alone there is no other label to take.
    class_margin = top[:, -1] - top[:, -2] if top.shape[1] > 1 else np.inf
    accepted = expected.label != UNKNOWN_LABEL
    slack = TOLERANCE * np.maximum(1, np.abs(expected.score))
    clear = np.abs(expected.score - threshold) > slack
    clear &= ~accepted | (class_margin > TOLERANCE)
    same = expected.label == actual.label
    return Agreement(
        images=len(same),
        probability=_largest(expected.probabilities, actual.probabilities),
        score=_largest(expected.score, actual.score),
        same_label=int(same.sum()),
        clear=int(clear.sum()),
        clear_but_other=int((clear & ~same).sum()),
    )


def verify(model: bytes, run: FinishedRun, images: ImageSet, threshold: float) -> Agreement:
    """Compare the file with the torch student, and try its inputs.

    Warns where less than half of the labels are clear, so that they say little.

    Args:
        model: the whole file.
        images: N > 0 real images of the file's input size.
        threshold: the stored default.

    Raises:
        ExportError: with the numbers, when an answer differs by more than `TOLERANCE`, when a
            clear label differs, or when an input does not do what the contract says.
    """
    session = open_session(model)
    expected, actual = torch_answers(run, images, threshold), run_model(session, images)
    result = compare_answers(expected, actual, threshold)
    score_limit = TOLERANCE * max(1.0, float(np.abs(expected.score).max()))
    # Written so that a NaN fails.
    if not (
        result.probability <= TOLERANCE
        and result.score <= score_limit
        and result.clear_but_other == 0
    ):
        raise ExportError(
            f"the exported file is not the student: on {result.images} images probabilities "
            f"differ by up to {result.probability:.1e} (allowed {TOLERANCE:.0e}), scores by up to "
            f"{result.score:.1e} (allowed {score_limit:.1e}), and {result.clear_but_other} of "
            f"{result.clear} clear labels are others; nothing was written; use releases of torch "
            "and onnxruntime that this version was tested with"
        )
    try_inputs(session, images[:BATCH], threshold)
    if 2 * result.clear < result.images:
        callbacks.current().on_warning(
            f"the labels of only {result.clear} of {result.images} images were compared with "
            f"torch's: the others lie within {TOLERANCE:.0e} of the threshold or of another class, "
            "where both may be right; scores and probabilities were compared on all"
        )
    return result


def try_inputs(
    session: onnxruntime.InferenceSession, pixels: NDArray[np.uint8], threshold: float
) -> None:
    """Every size of batch and every threshold must do what the contract says.

    `threshold` is the stored default. Raises ExportError that names what does not hold.
    """
    together = run_model(session, pixels)
    required = [value.name for value in session.get_inputs()]
    optional = [value.name for value in session.get_overridable_initializers()]
    singly = run_model(session, pixels[:3], batch=1)
    none, every = run_model(session, pixels, np.inf), run_model(session, pixels, LOWEST)
    given = run_model(session, pixels, threshold)
    for what, holds in {
        "asks for the image alone": required == [INPUTS[0]] and optional == [INPUTS[1]],
        "answers one image as it answers several": _largest(
            singly.probabilities, together.probabilities[: len(singly.label)]
        )
        <= TOLERANCE,
        "rejects all at an infinite threshold": bool((none.label == UNKNOWN_LABEL).all()),
        "accepts all at the lowest threshold": bool(
            (every.label == every.probabilities.argmax(axis=1)).all()
        ),
        "takes its default threshold as an input": bool((given.label == together.label).all()),
    }.items():
        if not holds:
            raise ExportError(
                f"the exported file breaks its contract, it should be one that {what}; nothing "
                "was written; use a release of onnxruntime that this version was tested with"
            )


def _largest(expected: NDArray[np.floating], actual: NDArray[np.floating]) -> float:
    return float(np.abs(expected.astype(np.float64) - actual.astype(np.float64)).max())
