"""Quantization of chosen ONNX nodes by QuantizeLinear / DequantizeLinear pairs around them.

onnxruntime fuses a node between such pairs into one integer kernel. The library for writing them is
onnxruntime's `quantize_static`. `benchmarks/libraries/quantizers.json` speaks against it: with the
same nodes and ranges, hard-swish split into operators it knows, and as accurate within noise, its
files take 0.98 to 1.04 times as long as ours at 64 px, but at 224 px 1.21 times for
MobileNetV3-Large, 1.12 for ResNet18 and 1.07 for EfficientNet-B0. It has no integer hard-swish, or
three kernels of one where two are enough, and quantizes the image from floats, while its bytes can
be read as they are.

Activations are uint8 per tensor, with 0 exactly representable (zero padding stays zero); weights
int8 per output channel, symmetric, of seven bits; biases int32 in the scale of the products (Jacob
et al. 2018, arXiv 1712.05877).
"""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from edgedistill.export.int8.prepare import byte_values
from edgedistill.export.onnx.simplify import attribute, constants, consumers, drop_unused

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value of each tensor, over calibration images."""

WEIGHTED = ("Conv", "Gemm")
# HardSigmoid and HardSwish as x / 6 + 1/2 saturated to [0, 1]; only this slope and offset.
HARD = ("HardSigmoid", "HardSwish")
SAME_RANGE = ("MaxPool", "Reshape", "Flatten")
SUPPORTED = (*WEIGHTED, *HARD, *SAME_RANGE, "Add", "Mul", "Sigmoid", "GlobalAveragePool")
# Processors without integer dot products add two 8-bit products in 16 bits, where those of 255 and
# 127 do not fit: with weights up to 64 every processor gives the same sum, and the same answers.
_LARGEST_WEIGHT = 64
_TINY = 1e-8


def tensors(model: ModelProto, chosen: Collection[str]) -> list[str]:
    """The activations whose ranges `quantize` needs, for a model from `prepare`.

    The ranges are those in the model as it was before: there the Relu has cut them at 0.
    """
    weights = constants(model.graph)
    activations: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in chosen:
            names = (*node.input, *node.output)
            activations |= dict.fromkeys(name for name in names if name not in weights)
    return list(activations)


def quantize(model: ModelProto, chosen: Collection[str], ranges: Ranges) -> ModelProto:
    """The model with the chosen nodes in int8; same inputs, outputs and names.

    Args:
        model: from `prepare` with the same `chosen`.
        chosen: names of nodes, each of a kind in `SUPPORTED`.
        ranges: of every tensor of `tensors(model, chosen)`.

    Raises:
        ValueError: a name that is not in the graph, or a node that cannot be quantised.
    """
    quantized = ModelProto()
    quantized.CopyFrom(model)
    writer = _Writer(quantized.graph, _clip_gate_ranges(quantized.graph, chosen, ranges))
    missing = set(chosen) - {node.name for node in quantized.graph.node}
    if missing:
        raise ValueError(f"no node {sorted(missing)[0]!r} in the graph")
    for original in model.graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        if node.name in chosen:
            _quantize_node(writer, node)
        else:
            writer.add_float(node)
    del quantized.graph.node[:]
    quantized.graph.node.extend(writer.nodes)
    drop_unused(quantized.graph)
    return quantized


def _clip_gate_ranges(graph: GraphProto, chosen: Collection[str], ranges: Ranges) -> Ranges:
    """Ranges with finer steps for tensors that only hard gates read.

    A hard-swish and a hard-sigmoid are 0 below -3, and a hard-sigmoid is 1 above 3.
    """
    uses = consumers(graph)
    clipped = dict(ranges)
    for node in graph.node:
        readers = uses.get(node.input[0], []) if node.op_type in HARD else []
        if readers and all(r.name in chosen and r.op_type == node.op_type for r in readers):
            low, high = ranges[node.input[0]]
            top = 3.0 if node.op_type == "HardSigmoid" else high
            clipped[node.input[0]] = (max(low, -3.0), min(high, top))
    return clipped


class _Writer:
    """A quantized graph under construction.

    Attributes:
        nodes: written so far, in order.
        params: scale and zero point of each tensor that has integers.
        inputs: dequantized copy of each float tensor that an integer node reads, by its name.
        outputs: dequantized copy of each tensor that an integer node computes, by its name.
    """

    def __init__(self, graph: GraphProto, ranges: Ranges) -> None:
        self.graph = graph
        self.ranges = ranges
        self.weights = constants(graph)
        self.bytes = byte_values(graph)
        self.nodes: list[NodeProto] = []
        self.params: dict[str, tuple[float, int]] = {}
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}

    def add_float(self, node: NodeProto) -> None:
        """Add a node that stays float; it reads dequantized copies where there are integers."""
        for number, name in enumerate(node.input):
            node.input[number] = self.outputs.get(name, name)
        self.nodes.append(node)

    def read(self, name: str) -> str:
        """The dequantized copy of a tensor, for an integer node to read."""
        if name in self.outputs:
            return self.outputs[name]
        if name not in self.inputs:
            self.inputs[name] = self._quantize_input(name)
        return self.inputs[name]

    def read_scaled(self, name: str, factor: float) -> str:
        """The integers that `read` dequantizes, dequantized to `factor` times their value."""
        scaled = f"{name}:times{factor:.4g}"
        if scaled not in self.inputs:
            self.read(name)
            scale, zero = self.params[name]
            self.inputs[scaled] = self.dequantize(f"{name}:q", scaled, scale * factor, zero)
        return self.inputs[scaled]

    def add_integer(
        self, node: NodeProto, name: str, params: tuple[float, int] | None = None
    ) -> None:
        """Add an integer node whose output 0 computes the tensor `name`, and quantize that.

        `params` are its scale and zero point, those of its range where they are left out.
        """
        node.output[0] = f"{name}:float"
        self.nodes.append(node)
        self.outputs[name] = self._pair(f"{name}:float", name, params or self._params_of(name))

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(
        self, name: str, node: str, axis: int, floor: NDArray[np.float64]
    ) -> tuple[str, NDArray[np.float64]]:
        """An int8 weight with one scale per entry of `axis`, at least `floor`.

        Returns the name of its dequantized copy, and the scales.
        """
        value = np.asarray(self.weights[name], np.float64)
        others = tuple(i for i in range(value.ndim) if i != axis)
        scale = np.maximum(
            np.maximum(np.abs(value).max(axis=others), _TINY) / _LARGEST_WEIGHT, floor
        )
        shape = [-1 if i == axis else 1 for i in range(value.ndim)]
        integers = np.rint(value / scale.astype(np.float32).reshape(shape))
        integers = integers.clip(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        return self._dequantized(f"{node}.weight", integers.astype(np.int8), scale, axis), scale

    def bias(self, name: str, node: str, scale: NDArray[np.float64]) -> str:
        """An int32 bias at the scale of its channel's products."""
        integers = np.rint(np.asarray(self.weights[name], np.float64) / scale.astype(np.float32))
        return self._dequantized(f"{node}.bias", integers.astype(np.int32), scale, 0)

    def _dequantized(
        self, stem: str, integers: NDArray[np.integer], scale: NDArray[np.float64], axis: int
    ) -> str:
        inputs = [
            self.constant(f"{stem}:q", integers),
            self.constant(f"{stem}:scale", scale.astype(np.float32)),
            self.constant(f"{stem}:zero", np.zeros(scale.shape, integers.dtype)),
        ]
        name = f"{stem}:dequantize"
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name, axis=axis))
        return name

    def _pair(self, source: str, name: str, params: tuple[float, int]) -> str:
        scale, zero = params
        inputs = [source, *self._scalars(f"{name}:q", scale, zero)]
        self.nodes.append(
            helper.make_node("QuantizeLinear", inputs, [f"{name}:q"], f"{name}:quantize")
        )
        self.params[name] = params
        return self.dequantize(f"{name}:q", f"{name}:dequantized", scale, zero)

    def _quantize_input(self, name: str) -> str:
        if name not in self.bytes:
            return self._pair(name, name, self._params_of(name))
        source, zero = self.bytes[name]
        self.params[name] = 1.0, zero
        return self.dequantize(source, f"{name}:dequantized", 1.0, zero)

    def dequantize(self, source: str, name: str, scale: float, zero: int) -> str:
        inputs = [source, *self._scalars(name, scale, zero)]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name))
        return name

    def _scalars(self, stem: str, scale: float, zero: int) -> tuple[str, str]:
        return (
            self.constant(f"{stem}:scale", np.array(scale, np.float32)),
            self.constant(f"{stem}:zero", np.array(zero, np.uint8)),
        )

    def _params_of(self, name: str) -> tuple[float, int]:
        return activation_params(*self.ranges[name])


def activation_params(low: float, high: float) -> tuple[float, int]:
    """Scale and uint8 zero point of a range, widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, _TINY) / 255
    return scale, int(np.clip(round(-low / scale), 0, 255))


def _quantize_node(writer: _Writer, node: NodeProto) -> None:
    kind = node.op_type
    if kind in WEIGHTED:
        _weighted(writer, node)
    elif kind in HARD:
        _hard(writer, node)
    elif kind in SUPPORTED:
        _elementwise(writer, node)
    else:
        raise ValueError(f"{node.name}: {kind} has no integer form")


def _weighted(writer: _Writer, node: NodeProto) -> None:
    """Write a convolution or a matrix product."""
    source, weight, *bias = node.input
    transposed = node.op_type == "Gemm" and attribute(node, "transB", 0) == 0
    node.input[0] = writer.read(source)
    step = writer.params[source][0]
    # A channel of tiny weights would have a scale at which its bias does not fit 32 bits.
    offset = np.asarray(writer.weights[bias[0]], np.float64) if bias else np.zeros(1)
    floor = np.abs(offset) / (step * 2.0**30)
    node.input[1], scale = writer.weight(weight, node.name, 1 if transposed else 0, floor)
    if bias:
        node.input[2] = writer.bias(bias[0], node.name, scale * step)
    writer.add_integer(node, node.output[0])


def _elementwise(writer: _Writer, node: NodeProto) -> None:
    """Write a sum, product, sigmoid or pooling: its inputs are activations."""
    source = node.input[0]
    for number, name in enumerate(node.input):
        if node.op_type not in SAME_RANGE or number == 0:
            node.input[number] = writer.read(name)
    same = writer.params[source] if node.op_type in SAME_RANGE else None
    writer.add_integer(node, node.output[0], same)


def _hard(writer: _Writer, node: NodeProto) -> None:
    """Write a hard-sigmoid as one integer sum, a hard-swish as that times its argument.

    The sum x / 6 + 1/2 is quantized to [0, 1], and saturation does the clipping. Its first operand
    is x's own integers at a sixth of x's scale, which needs no kernel.
    """
    if node.op_type == "HardSigmoid" and not _is_sixth(node):
        raise ValueError(f"{node.name}: a hard-sigmoid of another slope or offset")
    source, out = node.input[0], node.output[0]
    gate = out if node.op_type == "HardSigmoid" else f"{out}:gate"
    half = writer.constant(f"{gate}:half:q", np.array(255, np.uint8))
    operands = [
        writer.read_scaled(source, 1 / 6),
        writer.dequantize(half, f"{gate}:half", 0.5 / 255, 0),
    ]
    total = helper.make_node("Add", operands, [gate], f"{node.name}:add")
    writer.add_integer(total, gate, (1 / 255, 0))
    if gate != out:
        factors = [writer.read(source), writer.read(gate)]
        product = helper.make_node("Mul", factors, [out], f"{node.name}:mul")
        writer.add_integer(product, out)


def _is_sixth(node: NodeProto) -> bool:
    alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    return abs(alpha - 1 / 6) < 1e-6 and abs(beta - 0.5) < 1e-6
