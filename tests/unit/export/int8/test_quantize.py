"""Chosen nodes in int8: near the float model, in integer kernels, inside the budget or refused."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from culprits import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgedistill.errors import ExportRefused
from edgedistill.export.int8.calibrate import (
    calibrate_ranges,
    extremes,
    fallback_sets,
    ranges,
    to_int8,
)
from edgedistill.export.int8.policy import block_of, chosen_nodes, node_kinds, pointwise_or_all
from edgedistill.export.int8.prepare import prepare
from edgedistill.export.int8.quantize import activation_params, quantize
from edgedistill.export.measure import (
    MetricDrop,
    compare_metrics,
    measure_answers,
    refuse_metric_drop,
)
from edgedistill.export.session import ModelOutputs, open_session, run_model

SIDE, CHANNELS, CLASSES = 16, 8, 4
EVERYTHING = frozenset({"convolution", "pointwise", "depthwise", "add", "activation", "gate"})


def network(seed: int = 0) -> ModelProto:
    """A network in the file contract's form, with a block of every kind the students have."""
    rng = np.random.default_rng(seed)
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, name: str, inputs: list[str], **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{name}.out"], name, **attributes))
        return f"{name}.out"

    def conv(name: str, source: str, shape: tuple[int, ...], **attributes: object) -> str:
        fan_in = int(np.prod(shape[1:]))
        value = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        value /= 64 if name == "stem" else 1
        bias = rng.normal(0, 0.2, shape[0]).astype(np.float32)
        weights.append(numpy_helper.from_array(value, f"{name}.weight"))
        weights.append(numpy_helper.from_array(bias, f"{name}.bias"))
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        if len(shape) == 2:
            return add("Gemm", name, inputs, transB=1)
        return add("Conv", name, inputs, kernel_shape=list(shape[2:]), **attributes)

    c = CHANNELS
    x = add("Transpose", "transpose", ["image"], perm=[0, 3, 1, 2])
    x = add("Cast", "cast", [x], to=TensorProto.FLOAT)
    mean = np.array([123.5, 116.25, 103.0], np.float32).reshape(3, 1, 1)
    weights.append(numpy_helper.from_array(mean, "shift"))
    x = add("Sub", "sub", [x, "shift"])
    x = conv("stem", x, (c, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    first = add("HardSwish", "stem:swish", [x])
    x = conv("deep", first, (c, 1, 3, 3), pads=[1, 1, 1, 1], group=c)
    x = add("Relu", "deep:relu", [x])
    gate = add("GlobalAveragePool", "pool", [x])
    gate = add("Relu", "fc1:relu", [conv("fc1", gate, (c, c, 1, 1))])
    gate = add("HardSigmoid", "fc2:sig", [conv("fc2", gate, (c, c, 1, 1))], alpha=1 / 6, beta=0.5)
    x = add("Mul", "gated", [x, gate])
    x = conv("point", x, (c, c, 1, 1))
    x = add("Add", "sum", [x, first])
    x = conv("wide", x, (2 * c, c, 1, 1))
    x = add("Mul", "silu", [x, add("Sigmoid", "sigmoid", [x])])
    x = add("GlobalAveragePool", "last", [x])
    weights.append(numpy_helper.from_array(np.array([-1, 2 * c], np.int64), "flat"))
    logits = conv("head", add("Reshape", "reshape", [x, "flat"]), (CLASSES, 2 * c))
    nodes.append(helper.make_node("Softmax", [logits], ["probabilities"], "softmax", axis=1))
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    nodes.append(helper.make_node("ReduceMax", [logits, "axes"], ["score"], "max", keepdims=0))
    best = add("ArgMax", "argmax", [logits], axis=1, keepdims=0)
    weights.append(numpy_helper.from_array(np.array(-1, np.int64), "unknown"))
    weights.append(numpy_helper.from_array(np.array(0.0, np.float32), "threshold"))
    known = add("GreaterOrEqual", "known", ["score", "threshold"])
    nodes.append(helper.make_node("Where", [known, best, "unknown"], ["label"], "where"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [
            value("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3]),
            value("threshold", TensorProto.FLOAT, []),
        ],
        [
            value("label", TensorProto.INT64, ["N"]),
            value("score", TensorProto.FLOAT, ["N"]),
            value("probabilities", TensorProto.FLOAT, ["N", CLASSES]),
        ],
        weights,
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def pictures(count: int = 24, seed: int = 0) -> NDArray[np.uint8]:
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)


def of_kinds(model: ModelProto, kinds: frozenset[str]) -> list[str]:
    return [name for name, kind in node_kinds(model.graph).items() if kind in kinds]


def in_int8(model: ModelProto, nodes: list[str], views: NDArray[np.uint8]) -> ModelProto:
    return to_int8(calibrate_ranges(model, nodes, views), nodes)


def kernels(model: ModelProto, folder: Path) -> Counter[str]:
    """The kernels onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Counter(n.op_type for n in onnx.load(folder / "optimised.onnx").graph.node)


def test_kinds_of_nodes() -> None:
    kinds = node_kinds(network().graph)
    assert kinds == {
        "stem": "convolution",
        "stem:swish": "activation",
        "deep": "depthwise",
        "pool": "gate",
        "fc1": "gate",
        "fc2": "gate",
        "fc2:sig": "gate",
        "gated": "gate",
        "point": "pointwise",
        "sum": "add",
        "wide": "pointwise",
        "sigmoid": "activation",
        "silu": "activation",
        "last": "globalaveragepool",
        "head": "classifier",
    }


@pytest.mark.parametrize("kinds", [{"pointwise"}, EVERYTHING, EVERYTHING | {"classifier"}])
def test_int8_answers_nearly_as_float(kinds: frozenset[str]) -> None:
    model, pixels = network(), pictures()
    int8_model = in_int8(model, of_kinds(model, frozenset(kinds)), pictures(seed=1))
    onnx.checker.check_model(int8_model, full_check=True)
    expected = run_model(open_session(model.SerializeToString()), pixels)
    int8_outputs = run_model(open_session(int8_model.SerializeToString()), pixels)
    spread = expected.probabilities.std(axis=0).max()
    assert np.abs(int8_outputs.probabilities - expected.probabilities).mean() < 0.25 * spread
    assert (int8_outputs.label == expected.label).mean() >= 0.8
    assert [i.name for i in int8_model.graph.input] == ["image", "threshold"]


def test_everything_chosen_runs_in_integers(tmp_path: Path) -> None:
    model = network()
    int8_model = in_int8(model, of_kinds(model, EVERYTHING), pictures())
    node_kernels = kernels(int8_model, tmp_path)
    assert node_kernels["QLinearConv"] == 6 and not node_kernels["Conv"] + node_kernels["FusedConv"]
    # The residual sum and the two hard gates; the products of hard-swish, gate and SiLU.
    assert node_kernels["QLinearAdd"] == 3 and node_kernels["QLinearMul"] >= 3
    assert not {"HardSwish", "HardSigmoid", "Relu", "Sigmoid"} & set(node_kernels)


@pytest.mark.parametrize("kind", ["HardSwish", "HardSigmoid"])
def test_a_hard_gate_in_integers_is_that_gate(kind: str) -> None:
    value = helper.make_tensor_value_info
    attributes = {"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {}
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], "gate", **attributes)],
        "gate",
        [value("x", TensorProto.FLOAT, ["N"])],
        [value("z", TensorProto.FLOAT, ["N"])],
    )
    graph.node.append(helper.make_node("Identity", ["y"], ["z"], "out"))
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    x = np.linspace(-20, 8, 400, dtype=np.float32)
    gate = np.clip(x / 6 + 0.5, 0, 1)
    expected = x * gate if kind == "HardSwish" else gate
    y = float(expected.min()), float(expected.max())
    int8_model = quantize(model, ["gate"], {"x": (-20.0, 8.0), "y": y})
    gated = open_session(int8_model.SerializeToString()).run(None, {"x": x})[0]
    # Steps of 11 / 255 going in (nothing below -3 matters) and as many coming out.
    np.testing.assert_allclose(gated, expected, atol=0.1 if kind == "HardSwish" else 0.02)


def test_a_chosen_first_convolution_reads_the_images_bytes(tmp_path: Path) -> None:
    model, pixels = network(), pictures()
    ready = prepare(model, ["stem"])
    expected, actual = (_outputs(m, "stem.out", pixels)[:, :, 1:-1, 1:-1] for m in (model, ready))
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    int8_model = in_int8(model, ["stem"], pixels)
    assert not {"Cast", "Sub"} & {node.op_type for node in int8_model.graph.node}
    # What is quantised is the result alone; the image's own bytes are exact.
    assert Counter(n.op_type for n in int8_model.graph.node)["QuantizeLinear"] == 1
    exact = _outputs(model, "stem.out", pixels)[:, :, 1:-1, 1:-1]
    near = _outputs(int8_model, "stem.out:dequantized", pixels)[:, :, 1:-1, 1:-1]
    assert np.abs(near - exact).mean() < 0.01 * np.ptp(exact)
    # A first convolution that stays float keeps its exact border.
    assert prepare(model, ["point"]) == model


def _outputs(model: ModelProto, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    extended = ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = open_session(extended.SerializeToString())
    outputs: NDArray[np.float32] = session.run([name], {"image": pixels})[0]
    return outputs


def test_two_products_fit_sixteen_bits() -> None:
    """Or processors without integer dot products would answer differently."""
    model = network()
    int8_model = in_int8(model, of_kinds(model, EVERYTHING), pictures())
    weights = [numpy_helper.to_array(t) for t in int8_model.graph.initializer]
    largest = [int(np.abs(w.astype(int)).max()) for w in weights if w.dtype == np.int8 and w.any()]
    assert len(largest) == 6 and set(largest) == {64}
    assert 2 * 255 * 64 < 2**15


def test_nodes_that_are_not_chosen_stay_float(tmp_path: Path) -> None:
    model = network()
    int8_model = in_int8(model, ["wide"], pictures())
    assert Counter(n.op_type for n in int8_model.graph.node)["QuantizeLinear"] == 2
    assert [t.name for t in int8_model.graph.initializer if t.data_type == TensorProto.INT8] == [
        *("wide.weight:q", "wide.weight:zero")
    ]


def test_the_same_calibration_gives_the_same_bytes() -> None:
    model = network()
    one, two = (in_int8(model, of_kinds(model, EVERYTHING), pictures()) for _ in range(2))
    assert one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True)


def test_what_cannot_be_quantized_is_refused() -> None:
    model = network()
    with pytest.raises(ValueError, match="no node 'absent'"):
        quantize(model, ["absent"], {})
    with pytest.raises(ValueError, match="Softmax has no integer form"):
        quantize(model, ["softmax"], {"head.out": (0, 1), "probabilities": (0, 1)})


def test_a_tiny_weight_does_not_lose_its_bias() -> None:
    model = network()
    weight = next(t for t in model.graph.initializer if t.name == "point.weight")
    value = numpy_helper.to_array(weight).copy()
    value[0] = 1e-20
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))
    expected = extremes(model, ["point.out"], pictures())["point.out"]
    int8_model = in_int8(model, ["point"], pictures())
    bounds = extremes(int8_model, ["point.out:dequantized"], pictures())["point.out:dequantized"]
    np.testing.assert_allclose(bounds, expected, atol=0.1)


@given(
    low=st.floats(-1e4, 1e4, width=32),
    width=st.floats(0, 1e4, width=32),
)
def test_zero_is_exact_and_the_range_is_held(low: float, width: float) -> None:
    scale, zero = activation_params(low, low + width)
    assert scale > 0 and 0 <= zero <= 255
    assert (0 - zero) * scale <= min(low, 0) + scale
    assert (255 - zero) * scale >= max(low + width, 0) - scale


@settings(max_examples=30)
@given(hnp.arrays(np.float32, (5, 2), elements=st.floats(-100, 100, width=32)))
def test_smaller_shares_give_no_wider_ranges(values: NDArray[np.float32]) -> None:
    extremes = {"x": np.sort(values, axis=1)}
    lows, highs = zip(*(ranges(extremes, share)["x"] for share in (1.0, 0.9, 0.5)), strict=True)
    assert lows[0] == extremes["x"][:, 0].min() and highs[0] == extremes["x"][:, 1].max()
    assert sorted(lows) == list(lows) and sorted(highs, reverse=True) == list(highs)


def test_the_rule_for_students_nobody_measured() -> None:
    model = network()
    assert pointwise_or_all(model.graph) == {"point", "wide"}
    assert chosen_nodes("nobody measured this one", model) == ["point", "wide"]
    dense = next(n for n in model.graph.node if n.name == "deep")
    next(a for a in dense.attribute if a.name == "group").i = 1
    assert pointwise_or_all(model.graph) == {"stem", "deep", "point", "sum", "wide"}


def test_sums_of_a_network_with_attention_stay_float() -> None:
    graph = network().graph
    dense = next(n for n in graph.node if n.name == "deep")
    next(a for a in dense.attribute if a.name == "group").i = 1
    graph.node.append(helper.make_node("MatMul", ["wide.out", "deep.out"], ["a"], "attention"))
    assert pointwise_or_all(graph) == {"stem", "deep", "point", "wide"}


def test_the_block_that_costs_most_answers_is_left_out_first() -> None:
    model = network()
    blocks = {"stem": "features.0.0", "deep": "features.1.block.0", "point": "features.2.block.0"}
    for node in model.graph.node:
        layer, mark, rest = node.name.partition(":")
        node.name = f"backbone.{blocks[layer]}{mark}{rest}" if layer in blocks else node.name
    chosen = [f"backbone.{block}" for block in blocks.values()]
    seen = calibrate_ranges(model, chosen, pictures())
    errors = {}
    for name in chosen:
        alone = quantize(prepare(model, [name]), [name], ranges(seen.extremes, 1.0))
        outputs = run_model(open_session(alone.SerializeToString()), pictures())
        errors[name] = float(np.square(outputs.probabilities - seen.probabilities).mean())
    costly = max(chosen, key=lambda name: errors[name])
    tries = list(fallback_sets(seen, chosen))
    assert tries[0] == chosen
    assert tries[1] == [name for name in chosen if name != costly]
    assert tries[-1] == ["backbone.features.2.block.0"]
    assert all(len(a) >= len(b) > 0 for a, b in itertools.pairwise(tries))


@pytest.mark.parametrize(
    ("node", "block"),
    [
        ("backbone.features.4.block.1.0:hardswish", "features.4"),
        ("backbone.features.2.1.block.1.fc1", "features.2.1"),
        ("backbone.layer3.0.conv2:add", "layer3.0"),
        ("backbone.features.0.0", "features.0"),
        ("backbone.conv1", "stem"),
        ("head.classifier", "stem"),
    ],
)
def test_blocks_of_the_students(node: str, block: str) -> None:
    assert block_of(node) == block


def test_a_loss_beyond_the_budget_is_refused_with_the_numbers() -> None:
    drops = [MetricDrop("accuracy", 0.80, 0.78), MetricDrop("H-score", None, None)]
    refuse_metric_drop(drops, 0.02)
    with raises(ExportRefused, "1.0 points", "accuracy", "80.0", "78.0", "--max-drop") as caught:
        refuse_metric_drop(drops, 0.01)
    assert caught.value.numbers == {drop.name: (drop.fp32, drop.int8) for drop in drops}
    refuse_metric_drop([MetricDrop("accuracy", 0.5, 0.9)], 0.0)


def test_rates_of_a_file_are_those_of_the_evaluation() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    given_answers = ModelOutputs(
        np.zeros(4, np.int64), np.array([3.0, 1.0, 2.0, 0.5]), probabilities
    )
    metrics = measure_answers(given_answers, np.array([0, 0, 0, -1]), 1.5)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["known_acceptance"] == pytest.approx(2 / 3)
    assert metrics["unknown_rejection"] == 1
    assert metrics["h_score"] == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert (metrics["images_known"], metrics["images_unknown"]) == (3, 1)
    rates = {
        rate.name: rate.drop for rate in compare_metrics(metrics, {**metrics, "accuracy": 0.0})
    }
    assert rates == {"accuracy": pytest.approx(2 / 3), "known keep rate": 0, "H-score": 0}
