"""Metadata of an exported file: strings under `edgedistill.` in the ONNX model's properties."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from edgedistill import __version__
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.onnx.graph import stored_threshold
from edgedistill.runtime.contract import CONTRACT, PREFIX, UNKNOWN_LABEL
from edgedistill.runtime.preprocess import RESIZE_RULE

Precision = Literal["fp32", "int8"]
_METRICS = ("target", "source_val", "calibration")


def metadata(
    run: FinishedRun,
    calibration: Calibration,
    metrics: Mapping[str, Any],
    size: int,
    precision: Precision,
) -> dict[str, str]:
    """The contract's metadata, without times and paths, so that a run always gives the same bytes.

    Args:
        run: the finished run.
        calibration: of the file's own threshold.
        metrics: of the file, or of its student in torch, under "source_val" and "target", which is
            None where no labelled image was tested, and under "calibration" of classes that were
            given after training.
        size: input side in pixels.
        precision: "fp32" or "int8".
    """
    texts = {
        "contract": CONTRACT,
        "classes": _json(list(run.classes)),
        "unknown_label": str(UNKNOWN_LABEL),
        "score": calibration.score,
        "threshold": _json(
            {
                "value": stored_threshold(calibration.threshold),
                "acceptance": calibration.target_keep_rate,
                "calibration": calibration.rule,
                "images": calibration.images,
            }
        ),
        "input": _json({"size": size, "resize": RESIZE_RULE}),
        "precision": precision,
        "recipe_sha256": run.recipe_sha256,
        "version": __version__,
        "metrics": _json({name: _rates(metrics[name]) for name in _METRICS if name in metrics}),
        "student": run.recipe.student.model,
        "method": run.recipe.method.name,
    }
    if run.prompted is not None:
        prompts = run.prompted.prompts
        texts["threshold_source"] = "carried over" if calibration.carried_over else "calibrated"
        texts["prompts"] = _json(
            {
                "teacher": run.prompted.teacher,
                "templates": prompts.templates,
                "pool": prompts.pool,
                "names": prompts.names,
            }
        )
    return {PREFIX + key: value for key, value in texts.items()}


def _rates(part: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if part is None:
        return None
    return {key: value for key, value in part.items() if key != "per_class"}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
