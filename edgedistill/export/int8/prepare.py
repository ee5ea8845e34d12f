"""Rewrites of a float graph that let integer kernels do the work of float nodes beside them."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from edgedistill.export.onnx.simplify import attribute, constants, consumers, producers


def prepare(model: ModelProto, chosen: Collection[str]) -> ModelProto:
    """A copy of a float model in the form that `quantize` takes for the chosen nodes."""
    prepared = ModelProto()
    prepared.CopyFrom(model)
    _merge_relu(prepared.graph, chosen)
    _read_image_bytes(prepared.graph, chosen)
    return prepared


def byte_values(graph: GraphProto) -> dict[str, tuple[str, int]]:
    """Float tensors that are a uint8 tensor minus a whole number: name to (tensor, number).

    An integer kernel reads such a tensor's bytes as they are: scale 1, that number as zero point.
    """
    weights, by_output = constants(graph), producers(graph)
    values = {}
    for node in graph.node:
        source = _subtracted_image(node, graph, by_output)
        zero = np.asarray(weights.get(node.input[1], ())) if source else np.empty(0)
        if source and zero.size == 1 and zero.item() == round(zero.item()) in range(256):
            values[node.output[0]] = (source, int(zero.item()))
    return values


def _merge_relu(graph: GraphProto, chosen: Collection[str]) -> None:
    """Drop the Relu behind a chosen node: integers whose range starts at 0 are cut there anyway."""
    uses = consumers(graph)
    for node in list(graph.node):
        readers = uses[node.output[0]]
        if node.name in chosen and len(readers) == 1 and readers[0].op_type == "Relu":
            node.output[0] = readers[0].output[0]
            graph.node.remove(readers[0])


def _read_image_bytes(graph: GraphProto, chosen: Collection[str]) -> None:
    """Let a chosen first convolution read the image's bytes, not a quantized copy of floats.

    The mean that normalization subtracts per channel becomes one whole number for all channels, and
    the rest goes into the bias. Outputs are the same except at the border, where padding with zeros
    now stands for a gray instead of the mean color, up to twelve steps of 255 away.
    """
    weights, by_output, uses = constants(graph), producers(graph), consumers(graph)
    for node in graph.node:
        shift = weights.get(node.input[1]) if _subtracted_image(node, graph, by_output) else None
        convs = uses[node.output[0]] if shift is not None else []
        if shift is None or not all(_can_shift(conv, chosen, weights) for conv in convs):
            continue
        mean = np.asarray(shift, np.float64).reshape(-1)
        zero = float(np.rint(mean.mean()))
        for conv in convs:
            weight = np.asarray(weights[conv.input[1]], np.float64).sum(axis=(2, 3))
            bias = np.asarray(weights[conv.input[2]], np.float64) if len(conv.input) > 2 else 0.0
            rest = np.broadcast_to(mean - zero, weight.shape[1])
            del conv.input[2:]
            conv.input.append(_constant(graph, f"{conv.name}.centred.bias", bias - weight @ rest))
        node.input[1] = _constant(graph, f"{node.name}.centre", np.array(zero))


def _subtracted_image(
    node: NodeProto, graph: GraphProto, by_output: dict[str, NodeProto]
) -> str | None:
    """The uint8 tensor, the image or its transpose, that a Sub node reads as floats."""
    cast = by_output.get(node.input[0]) if node.op_type == "Sub" else None
    if cast is None or cast.op_type != "Cast" or attribute(cast, "to", 0) != TensorProto.FLOAT:
        return None
    source = by_output.get(cast.input[0])
    image = source.input[0] if source is not None and source.op_type == "Transpose" else None
    images = {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    return str(cast.input[0]) if images & {image, cast.input[0]} else None


def _can_shift(
    conv: NodeProto, chosen: Collection[str], weights: dict[str, NDArray[np.generic]]
) -> bool:
    """Whether a constant of the input can move into the bias of a convolution."""
    dense = conv.op_type == "Conv" and attribute(conv, "group", 1) == 1
    return dense and conv.name in chosen and conv.input[1] in weights


def _constant(graph: GraphProto, name: str, value: NDArray[np.float64]) -> str:
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return name
