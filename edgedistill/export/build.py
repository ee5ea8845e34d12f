"""`edgedistill export --onnx`: build the file, check it, and only then write it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from edgedistill.atomic import write_bytes
from edgedistill.errors import EdgeDistillError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.graph import export_graph, stored_threshold, to_bytes
from edgedistill.export.images import RunImages
from edgedistill.export.int8 import ever_fewer, observe, to_int8
from edgedistill.export.latency import interleaved, ratio
from edgedistill.export.measure import Held, hold, measure, refuse_beyond, within
from edgedistill.export.metadata import Precision, metadata
from edgedistill.export.module import Deployed
from edgedistill.export.policy import chosen_nodes
from edgedistill.export.session import BATCH, Answers, answers, joined, open_session
from edgedistill.export.verify import IMAGES, Agreement, compare, torch_answers, try_inputs, verify
from edgedistill.onnx_file import INPUTS
from edgedistill.openset import calibrate

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
    spared: int
    held: list[Held]
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
    images: RunImages


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
    judge = _Judge(built)
    policy = chosen_nodes(run.recipe.student.model, built.model)
    seen = observe(built.model, policy, images.training_views(VIEWS))
    for chosen in ever_fewer(seen, policy):
        model = to_int8(seen, chosen)
        verdict = judge(model)
        if within(verdict.held, max_drop):
            break
    refuse_beyond(verdict.held, max_drop)

    stored = stored_threshold(verdict.threshold)
    _set_threshold(model, stored)
    calibration = replace(
        fp32.calibration, threshold=verdict.threshold, images=len(verdict.validation.label)
    )
    target = images.target()
    after = answers(open_session(model.SerializeToString()), target.pixels)
    metrics = {
        "source_val": _source_part(measure(verdict.validation, judge.val.labels, stored)),
        "target": {
            "domain": run.recipe.data.target,
            **measure(after, target.labels, stored),
        },
    }
    data = to_bytes(model, metadata(run, calibration, metrics, images.size, "int8"))
    pixels = np.asarray(images.sample(IMAGES).pixels)
    session = open_session(data)
    try_inputs(session, pixels[:BATCH], stored)
    agreement = compare(torch_answers(run, pixels, stored), answers(session, pixels), stored)
    seconds = interleaved({"fp32": built.data, "int8": data}, pixels[:1], _ROUNDS)
    write_bytes(output, data)
    gain = Int8(
        nodes=len(chosen),
        spared=len(policy) - len(chosen),
        held=verdict.held,
        unknown=len(judge.unknown),
        time_ratio=ratio(seconds, "int8", "fp32"),
        fp32_bytes=len(built.data),
    )
    return Exported(output, len(data), images.size, "int8", calibration, agreement, metrics, gain)


@dataclass(frozen=True)
class _Verdict:
    """An int8 model's answers on source validation, its own threshold, and its rates."""

    validation: Answers
    threshold: float
    held: list[Held]


class _Judge:
    """Holds int8 models against the fp32 file, on source images that nothing is trained on."""

    def __init__(self, built: _Built) -> None:
        self.val, self.unknown = built.images.validation(), built.images.source_unknown()
        self._acceptance = built.exported.calibration.acceptance
        threshold = built.exported.calibration.threshold
        self._fp32 = self._rates(*self._answers(built.data), threshold)

    def __call__(self, model: ModelProto) -> _Verdict:
        val, unknown = self._answers(model.SerializeToString())
        threshold = calibrate(val.score, self._acceptance)
        return _Verdict(val, threshold, hold(self._fp32, self._rates(val, unknown, threshold)))

    def _answers(self, data: bytes) -> tuple[Answers, Answers | None]:
        session = open_session(data)
        unknown = answers(session, self.unknown.pixels) if len(self.unknown) else None
        return answers(session, self.val.pixels), unknown

    def _rates(self, val: Answers, unknown: Answers | None, threshold: float) -> dict[str, Any]:
        both = val if unknown is None else joined([val, unknown])
        labels = np.concatenate([self.val.labels, self.unknown.labels])
        return measure(both, labels, stored_threshold(threshold))


def _fp32(run: FinishedRun, output: Path, size: int | None) -> _Built:
    _check_output(output)
    side = size or run.recipe.student.size
    images = RunImages(run, side)
    calibration, metrics = run.calibration, run.metrics
    if side != run.recipe.student.size:
        calibration, metrics = _measured_at(run, images)
    module = Deployed(run.student, calibration.score, run.method.text)
    model = export_graph(module, side, len(run.classes), calibration.threshold)
    data = to_bytes(model, metadata(run, calibration, metrics, side, "fp32"))
    pixels = np.asarray(images.sample(IMAGES).pixels)
    agreement = verify(data, run, pixels, stored_threshold(calibration.threshold))
    exported = Exported(output, len(data), side, "fp32", calibration, agreement, dict(metrics))
    return _Built(model, data, exported, images)


def _check_output(output: Path) -> None:
    """Refuse early what would fail after minutes of work."""
    if output.is_dir():
        raise EdgeDistillError(f"{output}: is a folder; give the name of a file with -o")
    if not output.parent.is_dir():
        raise EdgeDistillError(f"{output.parent}: no such folder; make it, or choose another -o")
    if output.suffix != ".onnx":
        raise EdgeDistillError(f"{output}: give -o a name that ends in .onnx")
    if not os.access(output.parent, os.W_OK):
        raise EdgeDistillError(f"{output.parent}: cannot be written to; choose another -o")


def _measured_at(run: FinishedRun, images: RunImages) -> tuple[Calibration, dict[str, Any]]:
    """Threshold and metrics of the torch student at an input size it was not calibrated at."""
    val, target = images.validation(), images.target()
    said = torch_answers(run, val.pixels, 0.0)
    limit = calibrate(said.score, run.calibration.acceptance)
    stored = stored_threshold(limit)
    metrics = {
        "source_val": _source_part(measure(said, val.labels, stored)),
        "target": {
            "domain": run.recipe.data.target,
            **measure(torch_answers(run, target.pixels, stored), target.labels, stored),
        },
    }
    return replace(run.calibration, threshold=limit, images=len(val)), metrics


def _source_part(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in _SOURCE_METRICS}


def _set_threshold(model: ModelProto, value: float) -> None:
    stored = next(t for t in model.graph.initializer if t.name == INPUTS[1])
    stored.CopyFrom(numpy_helper.from_array(np.array(value, np.float32), INPUTS[1]))
