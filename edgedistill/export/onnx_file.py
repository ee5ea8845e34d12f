"""`edgedistill export --onnx`: build the file, check it, and only then write it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedistill.atomic import write_bytes
from edgedistill.errors import EdgeDistillError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.graph import export_graph, stored_threshold, to_bytes
from edgedistill.export.images import Labelled, RunImages
from edgedistill.export.metadata import Precision, metadata
from edgedistill.export.module import Deployed
from edgedistill.export.verify import IMAGES, Agreement, verify
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class Exported:
    """What was written, and what it was checked with."""

    path: Path
    bytes: int
    size: int
    precision: Precision
    calibration: Calibration
    agreement: Agreement
    metrics: dict[str, Any]


def export_fp32(run: FinishedRun, output: Path, size: int | None = None) -> Exported:
    """Write the run's student as one ONNX file.

    At another input size than the run's, the threshold is calibrated and the metrics are measured
    anew at that size. Raises EdgeDistillError, and leaves no file, when a check fails.
    """
    check_output(output)
    side = size or run.recipe.student.size
    images = RunImages(run, side)
    calibration, metrics = run.calibration, run.metrics
    if side != run.recipe.student.size:
        calibration, metrics = _measured_at(run, images)
    module = Deployed(run.student, calibration.score, run.method.text)
    model = export_graph(module, side, len(run.classes), calibration.threshold)
    data = to_bytes(model, metadata(run, calibration, metrics, side, "fp32"))
    pixels = images.sample(IMAGES).pixels
    agreement = verify(data, run, pixels, stored_threshold(calibration.threshold))
    write_bytes(output, data)
    return Exported(output, len(data), side, "fp32", calibration, agreement, dict(metrics))


def check_output(output: Path) -> None:
    """Refuse early what would fail after minutes of work."""
    if output.is_dir():
        raise EdgeDistillError(f"{output}: is a folder; give the name of a file with -o")
    if not output.parent.is_dir():
        raise EdgeDistillError(f"{output.parent}: no such folder; make it, or choose another -o")


def _measured_at(run: FinishedRun, images: RunImages) -> tuple[Calibration, dict[str, Any]]:
    old = run.calibration
    val, target = _outputs(run, images.validation()), _outputs(run, images.target())
    threshold = calibrate(val.score(old.score), old.acceptance)
    calibration = Calibration(old.score, threshold, old.acceptance, len(val.labels))
    return calibration, measure(run, calibration, val, target)


def measure(
    run: FinishedRun, calibration: Calibration, val: Outputs, target: Outputs
) -> dict[str, Any]:
    """The metrics of a run, at a threshold: parts "source_val" and "target"."""
    score, threshold = calibration.score, stored_threshold(calibration.threshold)
    found = {
        name: evaluate(outputs, score=score, threshold=threshold, known=run.classes)
        for name, outputs in (("source_val", val), ("target", target))
    }
    kept = ("accuracy", "known_acceptance", "images_known")
    return {
        "source_val": {key: found["source_val"][key] for key in kept},
        "target": {"domain": run.recipe.data.target, **found["target"]},
    }


def _outputs(run: FinishedRun, images: Labelled) -> Outputs:
    device = torch.device("cpu")
    pixels = np.asarray(images.pixels)
    return predict(
        run.student, run.method, pixels, images.labels, device=device, channels_last=False
    )
