"""The threshold of int8 files: as many images of source validation are kept as in float."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.export.int8.evaluate import evaluate_int8, measure_fp32
from edgedistill.export.onnx.graph import stored_threshold

SIDE, IMAGES = 4, 20


def gray(levels: np.ndarray, label: int = 0) -> LabelledImages:
    """One image of each level, all of one class; -1 is an unknown one."""
    pixels = np.broadcast_to(levels[:, None, None, None], (len(levels), SIDE, SIDE, 3))
    images = ImageSet.from_array(np.ascontiguousarray(pixels, dtype=np.uint8))
    return LabelledImages(images, np.full(len(levels), label, np.int64))


def brightness(scale: float, steps: int | None = None) -> onnx.ModelProto:
    """A file whose score is the mean of the image times `scale`, in whole steps if there are."""
    constants = {
        "scale": np.float32(scale / (255 if steps is None else 255 / steps)),
        "back": np.float32(1 if steps is None else 1 / steps),
        "threshold": np.float32(0),
        "unknown": np.int64(-1),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Identity" if steps is None else "Round", ["scaled"], ["rounded"]),
        helper.make_node("Mul", ["rounded", "back"], ["score"]),
        helper.make_node("ReduceMean", ["pixels"], ["channels"], axes=[1, 2], keepdims=0),
        helper.make_node("Softmax", ["channels"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["score", "threshold"], ["rejected"]),
        helper.make_node("Where", ["rejected", "unknown", "best"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3]),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kept", [1, 13, IMAGES])
def test_as_many_images_are_kept_as_in_float(kept: int) -> None:
    levels = np.random.default_rng(0).permutation(np.arange(10, 10 + 12 * IMAGES, 12))
    validation, unknown = gray(levels), gray(levels - 5, -1)
    limit = float(np.sort(levels)[IMAGES - kept] - 2) / 255
    fp32 = brightness(1.0).SerializeToString()
    baseline = measure_fp32(fp32, stored_threshold(limit), validation, unknown)
    assert baseline.metrics["known_acceptance"] == kept / IMAGES
    # Scores of another scale, as quantization may give: the float threshold would keep all of them.
    evaluation = evaluate_int8(brightness(3.0), baseline)
    assert evaluation.metrics["known_acceptance"] == kept / IMAGES
    threshold = stored_threshold(evaluation.threshold)
    assert (evaluation.int8_outputs.score >= threshold).sum() == kept
    # Between two scores, not on one.
    assert np.abs(evaluation.int8_outputs.score - threshold).min() > 1e-6


def test_scores_that_int8_ties_are_kept_together() -> None:
    levels = np.arange(0, 240, 12)
    baseline = measure_fp32(
        brightness(1.0).SerializeToString(),
        stored_threshold(130 / 255),
        gray(levels),
        gray(levels, -1),
    )
    kept = round(baseline.metrics["known_acceptance"] * IMAGES)
    evaluation = evaluate_int8(brightness(1.0, steps=4), baseline)
    scores = evaluation.int8_outputs.score
    assert len(np.unique(scores)) < IMAGES / 2
    accepted = scores >= stored_threshold(evaluation.threshold)
    assert accepted.sum() >= kept
    # All of the lowest step that is kept, and nothing of the next lower one.
    assert np.array_equal(accepted, scores >= np.sort(scores)[IMAGES - kept])


def test_where_float_rejects_nothing_int8_rejects_nothing() -> None:
    levels = np.arange(0, 240, 12)
    fp32 = brightness(1.0).SerializeToString()
    baseline = measure_fp32(fp32, -math.inf, gray(levels), gray(levels, -1))
    evaluation = evaluate_int8(brightness(0.5), baseline)
    assert evaluation.threshold == -math.inf
    assert evaluation.metrics["known_acceptance"] == 1
