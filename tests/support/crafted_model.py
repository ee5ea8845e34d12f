"""A small exported file, built node by node."""

from __future__ import annotations

import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("bird", "écureuil roux", "<b>ladder</b>", "zebra \U0001f993")
SIZE = 24
THRESHOLD = 0.75


def crafted_model(**metadata: str) -> bytes:
    """An unsealed file of the contract with random convolutions, so that every pixel matters.

    Args:
        metadata: entries that are other than in a sound file, without their prefix.
    """
    rng = np.random.default_rng(5)
    constants = {
        "kernel": rng.normal(0, 0.5, (8, 3, 5, 5)).astype(np.float32),
        "weights": rng.normal(0, 3, (8, len(CLASSES))).astype(np.float32),
        "range": np.float32(1 / 255),
        "centre": np.float32(0.5),
        "threshold": np.float32(THRESHOLD),
        "unknown": np.int64(-1),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "range"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "centre"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["responses"], strides=[2, 2]),
        helper.make_node("Relu", ["responses"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["pooled", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["logits"], ["score"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["score", "threshold"], ["rejected"]),
        helper.make_node("Where", ["rejected", "unknown", "best"], ["label"]),
    ]
    shape = ["N", SIZE, SIZE, 3]
    graph = helper.make_graph(
        nodes,
        "student",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, shape),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(CLASSES)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    calibration = {"value": THRESHOLD, "acceptance": 0.95, "calibration": "none", "images": 40}
    defaults = {
        "contract": "1",
        "classes": json.dumps(CLASSES),
        "unknown_label": "-1",
        "score": "max_logit",
        "threshold": json.dumps(calibration),
        "input": json.dumps({"size": SIZE, "resize": "pillow-bilinear-stretch/1"}),
        "precision": "fp32",
        "recipe_sha256": "0" * 64,
        "version": "0.1.0",
        "metrics": json.dumps({"target": {}, "source_val": {}}),
        "student": "crafted",
        "method": "none",
    }
    helper.set_model_props(model, {f"edgedistill.{k}": v for k, v in (defaults | metadata).items()})
    data: bytes = model.SerializeToString()
    return data
