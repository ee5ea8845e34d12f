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
class Answers:
    """label int64 [N], score float [N], probabilities float [N, C]."""

    label: NDArray[np.int64]
    score: NDArray[np.floating]
    probabilities: NDArray[np.floating]


def open_session(model: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """The model on the CPU; `threads` of 0 are onnxruntime's choice, one per physical core."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def answers(
    session: onnxruntime.InferenceSession,
    images: ImageSet | NDArray[np.uint8],
    threshold: float | None = None,
    batch: int = BATCH,
) -> Answers:
    """Answers for N > 0 images, at the file's own threshold unless one is given."""
    given = {} if threshold is None else {INPUTS[1]: np.array(threshold, np.float32)}
    parts = []
    for start in range(0, len(images), batch):
        image = np.ascontiguousarray(images[start : start + batch])
        parts.append(session.run(list(OUTPUTS), {INPUTS[0]: image, **given}))
    label, score, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Answers(label, score, probabilities)


def concatenate(parts: Sequence[Answers]) -> Answers:
    """Several sets of answers as one."""
    return Answers(
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )
