"""Metrics of int8 models beside the fp32 model's, on source images that nothing is trained on."""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from onnx import ModelProto

from edgedistill.data.images import LabelledImages
from edgedistill.export.measure import MetricDrop, compare_metrics, measure_answers
from edgedistill.export.onnx.graph import stored_threshold
from edgedistill.export.session import ModelOutputs, concatenate, open_session, run_model
from edgedistill.openset import threshold_keeping


@dataclass(frozen=True)
class Baseline:
    """The fp32 model's metrics, and the images they were measured on.

    Attributes:
        validation: source validation, images of known classes.
        unknown: source images of unknown classes, perhaps none.
        threshold: of the fp32 file; -inf where it rejects nothing.
        metrics: of fp32 on both sets of images at its own threshold, as `measure` names them.
    """

    validation: LabelledImages
    unknown: LabelledImages
    threshold: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Int8Evaluation:
    """An int8 model beside the fp32 model.

    Attributes:
        int8_outputs: its outputs on source validation.
        threshold: its own.
        metrics: of the same images as the baseline's.
        drops: metrics below fp32's.
    """

    int8_outputs: ModelOutputs
    threshold: float
    metrics: dict[str, Any]
    drops: list[MetricDrop]


def measure_fp32(
    fp32: bytes,
    threshold: float,
    validation: LabelledImages,
    unknown: LabelledImages,
) -> Baseline:
    """The baseline of a serialized fp32 model at its calibrated threshold."""
    known_outputs, unknown_outputs = _outputs(fp32, validation, unknown)
    metrics = _metrics(known_outputs, unknown_outputs, validation, unknown, threshold)
    return Baseline(validation, unknown, threshold, metrics)


def evaluate_int8(model: ModelProto, baseline: Baseline) -> Int8Evaluation:
    """Calibrate an int8 model's threshold on its own scores; compare its metrics with fp32's.

    It keeps as many images of source validation as the fp32 file, so that the metrics differ by
    what int8 does to scores and labels, and not by how many scores are tied at the threshold.
    """
    validation, unknown = baseline.validation, baseline.unknown
    known_outputs, unknown_outputs = _outputs(model.SerializeToString(), validation, unknown)
    threshold = -inf
    if baseline.threshold != -inf:
        accepted = round(baseline.metrics["known_acceptance"] * len(validation))
        threshold = threshold_keeping(known_outputs.score, accepted)
    metrics = _metrics(known_outputs, unknown_outputs, validation, unknown, threshold)
    drops = compare_metrics(baseline.metrics, metrics)
    return Int8Evaluation(known_outputs, threshold, metrics, drops)


def _outputs(
    model: bytes, validation: LabelledImages, unknown: LabelledImages
) -> tuple[ModelOutputs, ModelOutputs | None]:
    session = open_session(model)
    unknown_outputs = run_model(session, unknown.images) if len(unknown) else None
    return run_model(session, validation.images), unknown_outputs


def _metrics(
    known_outputs: ModelOutputs,
    unknown_outputs: ModelOutputs | None,
    validation: LabelledImages,
    unknown: LabelledImages,
    threshold: float,
) -> dict[str, Any]:
    outputs = known_outputs
    if unknown_outputs is not None:
        outputs = concatenate([known_outputs, unknown_outputs])
    labels = np.concatenate([validation.labels, unknown.labels])
    return measure_answers(outputs, labels, stored_threshold(threshold))
