"""A model file in onnxruntime, and its answers for stored images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet
from edgedistill.runtime.contract import INPUTS, OUTPUTS

BATCH = 64


@dataclass(frozen=True)
class ModelOutputs:
    """Outputs of a model for N images.

    Attributes:
        label: int64 [N], -1 for unknown.
        score: float [N], higher = more like the known classes.
        probabilities: float [N, C].
    """

    label: NDArray[np.int64]
    score: NDArray[np.floating]
    probabilities: NDArray[np.floating]


def open_session(model: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the CPU; 0 threads mean onnxruntime's choice, one per physical core."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_model(
    session: onnxruntime.InferenceSession,
    images: ImageSet | NDArray[np.uint8],
    threshold: float | None = None,
    batch: int = BATCH,
) -> ModelOutputs:
    """Answers for N images, `batch` at a time.

    Args:
        session: of a file that keeps the contract.
        images: uint8 [N, S, S, 3].
        threshold: None for the file's own.
        batch: images per run.
    """
    if not len(images):
        classes = session.get_outputs()[2].shape[1]
        return ModelOutputs(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, classes)))
    override = {} if threshold is None else {INPUTS[1]: np.array(threshold, np.float32)}
    batches = []
    for start in range(0, len(images), batch):
        pixels = np.ascontiguousarray(images[start : start + batch])
        batches.append(session.run(list(OUTPUTS), {INPUTS[0]: pixels, **override}))
    label, score, probabilities = (np.concatenate(part) for part in zip(*batches, strict=True))
    return ModelOutputs(label, score, probabilities)


def concatenate(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """The answers of all parts, in order."""
    return ModelOutputs(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )
