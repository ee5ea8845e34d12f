"""`edgedistill export --onnx`: build the file, check it, and only then write it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from edgedistill._utils.atomic import write_bytes
from edgedistill.errors import ExportError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.images import ExportImages
from edgedistill.export.int8.calibrate import calibrate_ranges, fallback_sets, to_int8
from edgedistill.export.int8.policy import chosen_nodes
from edgedistill.export.latency import interleaved, ratio
from edgedistill.export.measure import (
    MetricDrop,
    compare_metrics,
    measure,
    refuse_metric_drop,
    within,
)
from edgedistill.export.onnx.graph import export_graph, stored_threshold, to_bytes
from edgedistill.export.onnx.metadata import Precision, metadata
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.session import BATCH, Answers, answers, concatenate, open_session
from edgedistill.export.verify import IMAGES, Agreement, compare, torch_answers, try_inputs, verify
from edgedistill.openset import calibrate
from edgedistill.runtime.contract import INPUTS

VIEWS = 128
_ROUNDS = 40
_SOURCE_METRICS = ("accuracy", "known_acceptance", "images_known")


@dataclass(frozen=True)
class Int8:
    """What int8 costs and gains beside the fp32 file of the same student.

    Attributes:
        nodes: how many nodes are in int8.
        spared: how many of the policy's nodes stayed float to keep the answers.
        held: rates on source validation, and on source images of unknown classes if there are any.
        unknown: how many such images there are.
        time_ratio: median time of int8 over that of fp32 here, one image, one thread.
        fp32_bytes: size of the fp32 file.
    """

    nodes: int
    kept_float: int
    drops: list[MetricDrop]
    unknown: int
    time_ratio: float
    fp32_bytes: int


@dataclass(frozen=True)
class Exported:
    """What was written, and what it was checked with.

    `agreement` compares the file with the torch student; `metrics` has "source_val" and "target".
    """

    path: Path
    bytes: int
    size: int
    precision: Precision
    calibration: Calibration
    agreement: Agreement
    metrics: dict[str, Any]
    int8: Int8 | None = None


@dataclass(frozen=True)
class _Built:
    """A checked fp32 file in memory."""

    model: ModelProto
    data: bytes
    exported: Exported
    images: ExportImages


def export_fp32(run: FinishedRun, output: Path, size: int | None = None) -> Exported:
    """Write the run's student as one ONNX file.

    At another input size than the run's, the threshold is calibrated and the metrics are measured
    anew at that size. Raises EdgeDistillError, and leaves no file, when a check fails.
    """
    built = _fp32(run, output, size)
    write_bytes(output, built.data)
    return built.exported


def export_int8(
    run: FinishedRun, output: Path, size: int | None = None, max_drop: float = 0.01
) -> Exported:
    """Write the run's student with the nodes of its policy in int8.

    Activations are calibrated on training views, the threshold on the int8 scores of source
    validation. Accuracy, the share of known images accepted and, where the sources have images of
    unknown classes, the H-score may each drop by `max_drop` against fp32; beyond that fewer nodes
    are tried, and in the end the file is refused with the numbers. Raises EdgeDistillError, and
    leaves no file, when a check fails.
    """
    built = _fp32(run, output, size)
    images, fp32 = built.images, built.exported
    evaluate_int8 = _Int8Evaluator(built)
    policy = chosen_nodes(run.recipe.student.model, built.model)
    calibrated = calibrate_ranges(built.model, policy, images.training_views(VIEWS))
    for chosen in fallback_sets(calibrated, policy):
        model = to_int8(calibrated, chosen)
        evaluation = evaluate_int8(model)
        if within(evaluation.drops, max_drop):
            break
    refuse_metric_drop(evaluation.drops, max_drop)

    stored = stored_threshold(evaluation.threshold)
    _set_threshold(model, stored)
    calibration = replace(
        fp32.calibration, threshold=evaluation.threshold, images=len(evaluation.validation.label)
    )
    target = images.target()
    int8_outputs = answers(open_session(model.SerializeToString()), target.images)
    metrics = {
        "source_val": _source_part(
            measure(evaluation.validation, evaluate_int8.val.labels, stored)
        ),
        "target": {
            "domain": run.recipe.data.target,
            **measure(int8_outputs, target.labels, stored),
        },
    }
    data = to_bytes(model, metadata(run, calibration, metrics, images.size, "int8"))
    sample = images.sample(IMAGES).images
    session = open_session(data)
    try_inputs(session, sample[:BATCH], stored)
    agreement = compare(torch_answers(run, sample, stored), answers(session, sample), stored)
    seconds = interleaved({"fp32": built.data, "int8": data}, sample[:1], _ROUNDS)
    write_bytes(output, data)
    gain = Int8(
        nodes=len(chosen),
        kept_float=len(policy) - len(chosen),
        drops=evaluation.drops,
        unknown=len(evaluate_int8.unknown),
        time_ratio=ratio(seconds, "int8", "fp32"),
        fp32_bytes=len(built.data),
    )
    return Exported(output, len(data), images.size, "int8", calibration, agreement, metrics, gain)


@dataclass(frozen=True)
class _Int8Evaluation:
    """An int8 model's answers on source validation, its own threshold, and its rates."""

    validation: Answers
    threshold: float
    drops: list[MetricDrop]


class _Int8Evaluator:
    """Holds int8 models against the fp32 file, on source images that nothing is trained on."""

    def __init__(self, built: _Built) -> None:
        self.val, self.unknown = built.images.validation(), built.images.source_unknown()
        self._acceptance = built.exported.calibration.target_keep_rate
        threshold = built.exported.calibration.threshold
        self._fp32 = self._rates(*self._answers(built.data), threshold)

    def __call__(self, model: ModelProto) -> _Int8Evaluation:
        val, unknown = self._answers(model.SerializeToString())
        threshold = calibrate(val.score, self._acceptance)
        return _Int8Evaluation(
            val, threshold, compare_metrics(self._fp32, self._rates(val, unknown, threshold))
        )

    def _answers(self, data: bytes) -> tuple[Answers, Answers | None]:
        session = open_session(data)
        unknown = answers(session, self.unknown.images) if len(self.unknown) else None
        return answers(session, self.val.images), unknown

    def _rates(self, val: Answers, unknown: Answers | None, threshold: float) -> dict[str, Any]:
        both = val if unknown is None else concatenate([val, unknown])
        labels = np.concatenate([self.val.labels, self.unknown.labels])
        return measure(both, labels, stored_threshold(threshold))


def _fp32(run: FinishedRun, output: Path, size: int | None) -> _Built:
    _check_output(output)
    side = size or run.recipe.student.size
    images = ExportImages(run, side)
    calibration, metrics = run.calibration, run.metrics
    if side != run.recipe.student.size:
        calibration, metrics = _measured_at(run, images)
    module = Deployed(run.student, run.openset)
    model = export_graph(module, side, len(run.classes), calibration.threshold)
    data = to_bytes(model, metadata(run, calibration, metrics, side, "fp32"))
    sample = images.sample(IMAGES).images
    agreement = verify(data, run, sample, stored_threshold(calibration.threshold))
    exported = Exported(output, len(data), side, "fp32", calibration, agreement, dict(metrics))
    return _Built(model, data, exported, images)


def _check_output(output: Path) -> None:
    """Refuse early what would fail after minutes of work."""
    if output.is_dir():
        raise ExportError(f"{output}: is a folder; give the name of a file with -o")
    if not output.parent.is_dir():
        raise ExportError(f"{output.parent}: no such folder; make it, or choose another -o")
    if output.suffix != ".onnx":
        raise ExportError(f"{output}: give -o a name that ends in .onnx")
    if not os.access(output.parent, os.W_OK):
        raise ExportError(f"{output.parent}: cannot be written to; choose another -o")


def _measured_at(run: FinishedRun, images: ExportImages) -> tuple[Calibration, dict[str, Any]]:
    """Threshold and metrics of the torch student at an input size it was not calibrated at."""
    val, target = images.validation(), images.target()
    torch_outputs = torch_answers(run, val.images, 0.0)
    limit = calibrate(torch_outputs.score, run.calibration.target_keep_rate)
    stored = stored_threshold(limit)
    metrics = {
        "source_val": _source_part(measure(torch_outputs, val.labels, stored)),
        "target": {
            "domain": run.recipe.data.target,
            **measure(torch_answers(run, target.images, stored), target.labels, stored),
        },
    }
    return replace(run.calibration, threshold=limit, images=len(val)), metrics


def _source_part(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in _SOURCE_METRICS}


def _set_threshold(model: ModelProto, value: float) -> None:
    stored = next(t for t in model.graph.initializer if t.name == INPUTS[1])
    stored.CopyFrom(numpy_helper.from_array(np.array(value, np.float32), INPUTS[1]))
