"""Export of a finished run's student: the file is built and checked in memory, then written."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from edgedistill import callbacks
from edgedistill._utils.atomic import write_bytes
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.errors import ExportError, OutputError, UsageError
from edgedistill.export.base import ExportedFile
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.images import ExportImages, input_side
from edgedistill.export.int8.calibrate import calibrate_ranges, fallback_sets, to_int8
from edgedistill.export.int8.evaluate import Int8Evaluation, evaluate_int8, measure_fp32
from edgedistill.export.int8.policy import chosen_nodes
from edgedistill.export.latency import interleaved, median_ratio
from edgedistill.export.measure import MetricDrop, measure_answers, refuse_metric_drop, within
from edgedistill.export.onnx.graph import export_graph, stored_threshold, to_bytes
from edgedistill.export.onnx.metadata import Precision, metadata
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.session import (
    BATCH,
    ModelOutputs,
    concatenate,
    open_session,
    run_model,
)
from edgedistill.export.verify import (
    IMAGES,
    Agreement,
    compare_answers,
    torch_answers,
    try_inputs,
    verify,
)
from edgedistill.openset import calibrate, too_few_images
from edgedistill.runtime.contract import INPUTS

CALIBRATION_VIEWS = 128
_ROUNDS = 40
_SOURCE_METRICS = ("accuracy", "known_acceptance", "images_known")


@dataclass(frozen=True)
class Int8:
    """Costs and gains of an int8 file beside the fp32 file of the same student.

    Attributes:
        nodes: number of nodes in int8.
        kept_float: number of the policy's nodes that stayed float to keep the metrics.
        drops: metrics of both files on source validation, and on source images of unknown classes.
        unknown: number of those images of unknown classes.
        time_ratio: median time of int8 over that of fp32 on this machine, one image, one thread.
        fp32_bytes: size of the fp32 file.
    """

    nodes: int
    kept_float: int
    drops: list[MetricDrop]
    unknown: int
    time_ratio: float
    fp32_bytes: int


@dataclass(frozen=True)
class Exported(ExportedFile):
    """A written file and the results of its checks.

    Attributes:
        size: input side in pixels.
        precision: "fp32" or "int8".
        calibration: of the file's own threshold.
        agreement: of the file's outputs with the torch student's.
        metrics: of the file, under "source_val" and "target"; of classes that were given after
            training, under "calibration".
        int8: beside fp32; None for an fp32 file.
    """

    size: int
    precision: Precision
    calibration: Calibration
    agreement: Agreement
    metrics: dict[str, Any]
    int8: Int8 | None = None


def export_fp32(run: FinishedRun, output: Path, size: int | None = None) -> Exported:
    """Write the run's student as one ONNX file.

    The threshold is the run's where the file answers source validation with it exactly as the run
    states. Elsewhere, and at another input size, it is calibrated and the metrics are measured anew
    on the file's own scores.

    Raises:
        ExportError: `output` cannot be written, or a check failed; no file is left.
        DataError: the run's images are gone or changed.
    """
    built = _build_fp32(run, output, size)
    write_bytes(output, built.data)
    return built.exported


def export_int8(
    run: FinishedRun, output: Path, size: int | None = None, max_drop: float = 0.01
) -> Exported:
    """Write the run's student with the nodes of its policy in int8.

    Activations are calibrated on training views, the threshold on the int8 scores of source
    validation. Accuracy, the share of known images kept and, where the sources have images of
    unknown classes, the H-score may each drop by `max_drop`, a share, below fp32. Where they drop
    more, fewer nodes are tried.

    Raises:
        UsageError: classes were given after training, and no images of them to judge it on.
        ExportRefused: the metrics drop by more than `max_drop` whatever nodes are left float; with
            the numbers. No file is left.
        ExportError: `output` cannot be written, or a check failed; no file is left.
        DataError: the run's images are gone or changed.
    """
    if run.prompted is not None and run.prompted.images is None:
        raise UsageError(
            "int8: without labelled images of these classes nobody can say what it costs; give "
            "some with --calibrate FOLDER, or export fp32"
        )
    built = _build_fp32(run, output, size)
    quantized = _quantize_within(built, run, max_drop)
    exported, data = _finish_int8(built, quantized, run, output)
    write_bytes(output, data)
    return exported


@dataclass(frozen=True)
class _BuiltFp32:
    """A checked fp32 file in memory; `model` is without metadata, `data` the whole file."""

    model: ModelProto
    data: bytes
    exported: Exported
    images: ExportImages


@dataclass(frozen=True)
class _QuantizedModel:
    """An int8 model whose metrics are within the budget, with its own threshold as default."""

    model: ModelProto
    nodes: int
    kept_float: int
    validation: LabelledImages
    unknown: int
    evaluation: Int8Evaluation


def _build_fp32(run: FinishedRun, output: Path, size: int | None) -> _BuiltFp32:
    _check_output(output)
    side = input_side(run, size)
    images = ExportImages(run, side)
    # Images that are gone or changed are refused here, before the export takes its time.
    sample = images.sample(IMAGES).images
    module = Deployed(run.student, run.openset)
    model = export_graph(module, side, len(run.classes), run.calibration.threshold)
    calibration, metrics = _calibrate_file(run, images, model)
    _set_threshold(model, stored_threshold(calibration.threshold))
    data = to_bytes(model, metadata(run, calibration, metrics, side, "fp32"))
    agreement = verify(data, run, sample, stored_threshold(calibration.threshold))
    exported = Exported(output, len(data), side, "fp32", calibration, agreement, dict(metrics))
    return _BuiltFp32(model, data, exported, images)


def _quantize_within(built: _BuiltFp32, run: FinishedRun, max_drop: float) -> _QuantizedModel:
    """The model with the most nodes in int8 that stays within the budget."""
    images, calibration = built.images, built.exported.calibration
    baseline = measure_fp32(
        built.data,
        calibration.threshold,
        images.validation(),
        images.source_unknown(),
    )
    student = run.recipe.student.model
    policy = chosen_nodes(student, built.model)
    if not policy:
        raise ExportError(
            f"int8: no node of {student} has a rule, so all of it would stay float; export fp32"
        )
    calibrated = calibrate_ranges(built.model, policy, images.training_views(CALIBRATION_VIEWS))
    for nodes in fallback_sets(calibrated, policy):
        model = to_int8(calibrated, nodes)
        evaluation = evaluate_int8(model, baseline)
        if within(evaluation.drops, max_drop):
            break
    refuse_metric_drop(evaluation.drops, max_drop)
    _set_threshold(model, stored_threshold(evaluation.threshold))
    return _QuantizedModel(
        model,
        nodes=len(nodes),
        kept_float=len(policy) - len(nodes),
        validation=baseline.validation,
        unknown=len(baseline.unknown),
        evaluation=evaluation,
    )


def _finish_int8(
    built: _BuiltFp32, quantized: _QuantizedModel, run: FinishedRun, output: Path
) -> tuple[Exported, bytes]:
    """Measure and check an int8 model; returns what is known of it and the whole file."""
    images, evaluation = built.images, quantized.evaluation
    threshold = stored_threshold(evaluation.threshold)
    calibration = replace(
        built.exported.calibration,
        threshold=evaluation.threshold,
        images=len(quantized.validation),
    )
    if run.prompted is None:
        session = open_session(quantized.model.SerializeToString())
        metrics = _metrics(
            measure_answers(evaluation.int8_outputs, quantized.validation.labels, threshold),
            images,
            lambda tested: run_model(session, tested),
            threshold,
        )
    else:
        metrics = {"source_val": None, "target": None, "calibration": evaluation.metrics}
    data = to_bytes(quantized.model, metadata(run, calibration, metrics, images.size, "int8"))
    sample = images.sample(IMAGES).images
    session = open_session(data)
    try_inputs(session, sample[:BATCH], threshold)
    agreement = compare_answers(
        torch_answers(run, sample, threshold), run_model(session, sample), threshold
    )
    seconds = interleaved({"fp32": built.data, "int8": data}, sample[:1], _ROUNDS)
    gain = Int8(
        nodes=quantized.nodes,
        kept_float=quantized.kept_float,
        drops=evaluation.drops,
        unknown=quantized.unknown,
        time_ratio=median_ratio(seconds, "int8", "fp32"),
        fp32_bytes=len(built.data),
    )
    exported = Exported(
        output, len(data), images.size, "int8", calibration, agreement, metrics, gain
    )
    return exported, data


def _check_output(output: Path) -> None:
    """Refuse early what would fail after minutes of work."""
    if output.is_dir():
        raise UsageError(f"{output}: is a folder; give the name of a file with -o")
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent}: no such folder; make it, or choose another -o")
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: give -o a name that ends in .onnx")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"{output.parent}: cannot be written to; choose another -o")


def _calibrate_file(
    run: FinishedRun, images: ExportImages, model: ModelProto
) -> tuple[Calibration, dict[str, Any]]:
    """Threshold and metrics of a model with the run's threshold, see `export_fp32`."""
    calibration = run.calibration
    if calibration.carried_over:
        return calibration, run.metrics
    session = open_session(model.SerializeToString())
    validation = images.validation()
    # Of images given with other classes it was said when they were given.
    few = too_few_images(len(validation), calibration.target_keep_rate)
    if few is not None and run.prompted is None:
        callbacks.current().on_warning(few)
    outputs = run_model(session, validation.images)
    # Other classes than those of the training were calibrated at the file's size.
    if run.prompted is not None or images.size == run.recipe.student.size:
        stated = run.metrics["source_val" if run.prompted is None else "calibration"]
        threshold = stored_threshold(calibration.threshold)
        measured = measure_answers(outputs, validation.labels, threshold)
        if all(measured[key] == stated[key] for key in _SOURCE_METRICS):
            return calibration, run.metrics
        callbacks.current().on_note(
            f"at the run's threshold the file keeps {100 * measured['known_acceptance']:.1f} % of "
            f"{len(validation)} calibration images, torch {100 * stated['known_acceptance']:.1f} "
            "%: the file's threshold is calibrated and its metrics are measured on its own scores"
        )
    limit = calibrate(outputs.score, calibration.target_keep_rate)
    threshold = stored_threshold(limit)
    calibration = replace(calibration, threshold=limit, images=len(validation))
    if run.prompted is None:
        metrics = _metrics(
            measure_answers(outputs, validation.labels, threshold),
            images,
            lambda tested: run_model(session, tested),
            threshold,
        )
        return calibration, metrics
    labels, unknown = validation.labels, images.source_unknown()
    if len(unknown):
        outputs = concatenate([outputs, run_model(session, unknown.images)])
        labels = np.concatenate([labels, unknown.labels])
    measured = measure_answers(outputs, labels, threshold)
    return calibration, {**run.metrics, "calibration": measured}


def _metrics(
    source: dict[str, Any],
    images: ExportImages,
    answer: Callable[[ImageSet], ModelOutputs],
    threshold: float,
) -> dict[str, Any]:
    """Metrics on source validation and test images, in the form of metrics.json."""
    target = images.target()
    measured = None
    if len(target):
        measured = {
            "domain": images.dataset.split.target,
            **measure_answers(answer(target.images), target.labels, threshold),
        }
    return {"source_val": {key: source[key] for key in _SOURCE_METRICS}, "target": measured}


def _set_threshold(model: ModelProto, value: float) -> None:
    initializer = next(t for t in model.graph.initializer if t.name == INPUTS[1])
    initializer.CopyFrom(numpy_helper.from_array(np.array(value, np.float32), INPUTS[1]))
