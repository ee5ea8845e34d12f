"""Parameters and multiply-accumulates, of files small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgedistill.bench.cost import UNKNOWN, Cost, count, count_nodes
from edgedistill.runtime.contract import read_model

# Strided convolution 3 -> 4 of 3x3 on 8x8 to 4x4, then 4 -> 3 over 1x1 pixels.
CONVOLUTION, CLASSIFIER = 4 * 4 * 4 * 27, 4 * 3
WEIGHTS = 4 * 27 + 4 + 4 * 3 + 3


def convolutional(proto: Callable[..., onnx.ModelProto], int8: bool) -> onnx.ModelProto:
    """The shared model with a convolution and a Gemm in place of its mean and product."""
    model = proto()
    graph = model.graph
    rng = np.random.default_rng(0)
    kernel = rng.integers(-9, 9, (4, 3, 3, 3)).astype(np.int8 if int8 else np.float32)
    initializers = {
        "kernel": kernel,
        "bias": np.zeros(4, np.float32),
        "weight": np.ones((3, 4), np.float32),
        "offset": np.zeros(3, np.float32),
        "scale": np.full(4, 0.1, np.float32),
        "zero": np.zeros(4, np.int8),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in initializers.items()
    )
    weight = "kernel"
    nodes = [helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2])]
    if int8:
        weight = "kernel:float"
        inputs = ["kernel", "scale", "zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [weight], axis=0))
    nodes += [
        helper.make_node(
            "Conv", ["planes", weight, "bias"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "offset"], ["logits"], transB=1),
    ]
    others = [n for n in graph.node if n.op_type not in ("ReduceMean", "MatMul")]
    del graph.node[:]
    graph.node.extend([others[0], *nodes, *others[1:]])
    return model


@pytest.mark.parametrize("int8", [False, True])
def test_a_file_is_counted_alike_in_float_and_int8(
    int8: bool, proto: Callable[..., onnx.ModelProto], write: Callable[..., Path]
) -> None:
    data, info = read_model(write(convolutional(proto, int8)))
    assert count(data, info) == Cost(WEIGHTS, CONVOLUTION + CLASSIFIER)


def test_a_matrix_product_alone(model: Path) -> None:
    assert count(*read_model(model)) == Cost(9, 9)


def test_nothing_is_left_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    count(*read_model(model))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("node", "cost"),
    [
        # Depthwise: a filter per channel.
        (("Conv", [[1, 8, 9, 9], [8, 1, 3, 3]], [1, 8, 7, 7]), (72, 49 * 72)),
        (
            (
                "QLinearConv",
                [[1, 2, 4, 4], [], [], [5, 2, 1, 1], [5], [5], [], [], [5]],
                [1, 5, 4, 4],
            ),
            (15, 160),
        ),
        (("Gemm", [[1, 6], [6, 4], [4]], [1, 4]), (28, 24)),
        (("MatMul", [[1, 7, 6], [6, 4]], [1, 7, 4]), (24, 7 * 24)),
        # Attention: no operand is a weight.
        (("MatMul", [[1, 2, 7, 6], [1, 2, 6, 7]], [1, 2, 7, 7]), (0, 2 * 7 * 7 * 6)),
        (("Relu", [[1, 8, 9, 9]], [1, 8, 9, 9]), (0, 0)),
    ],
)
def test_a_node(node: Any, cost: tuple[int, int]) -> None:
    assert count_nodes([node]) == Cost(*cost)


def test_what_cannot_be_counted_is_unknown_and_not_less(model: Path) -> None:
    _, info = read_model(model)
    known: Any = ("Gemm", [[1, 6], [6, 4], [4]], [1, 4])
    assert count_nodes([known, ("Einsum", [[1, 6], [6, 4]], [1, 4])]) == UNKNOWN
    assert count(b"no model", info) == UNKNOWN
