"""Rewrites of a float graph that let integer kernels take over what float nodes did around them."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from edgedistill.export.onnx.simplify import attribute, constants, consumers, producers


def prepare(model: ModelProto, chosen: Collection[str]) -> ModelProto:
    """A copy of a float model in the form that `quantize` wants for the chosen nodes."""
    made = ModelProto()
    made.CopyFrom(model)
    _merge_relu(made.graph, chosen)
    _centre_on_a_byte(made.graph, chosen)
    return made


def byte_values(graph: GraphProto) -> dict[str, tuple[str, int]]:
    """Float tensors that are a uint8 tensor minus a whole number: name to (tensor, number).

    An integer kernel reads such a tensor's bytes as they are: scale 1, that number as zero point.
    """
    fixed, makers = constants(graph), producers(graph)
    found = {}
    for node in graph.node:
        source = _image_behind(node, graph, makers)
        zero = np.asarray(fixed.get(node.input[1], ())) if source else np.empty(0)
        if source and zero.size == 1 and zero.item() == round(zero.item()) in range(256):
            found[node.output[0]] = (source, int(zero.item()))
    return found


def _merge_relu(graph: GraphProto, chosen: Collection[str]) -> None:
    """Drop the Relu behind a chosen node: an integer output that starts at 0 is one."""
    uses = consumers(graph)
    for node in list(graph.node):
        after = uses[node.output[0]]
        if node.name in chosen and len(after) == 1 and after[0].op_type == "Relu":
            node.output[0] = after[0].output[0]
            graph.node.remove(after[0])


def _centre_on_a_byte(graph: GraphProto, chosen: Collection[str]) -> None:
    """Let a chosen first convolution read the image's bytes, not a quantised copy of floats.

    What normalisation subtracts from each channel becomes one whole number for all, and the rest
    goes into the bias. The same everywhere but at the border: its zeros now stand for a grey
    instead of the mean colour, up to twelve steps of 255 away.
    """
    fixed, makers, uses = constants(graph), producers(graph), consumers(graph)
    for node in graph.node:
        shift = fixed.get(node.input[1]) if _image_behind(node, graph, makers) else None
        convs = uses[node.output[0]] if shift is not None else []
        if shift is None or not all(_can_take(conv, chosen, fixed) for conv in convs):
            continue
        mean = np.asarray(shift, np.float64).reshape(-1)
        zero = float(np.rint(mean.mean()))
        for conv in convs:
            weight = np.asarray(fixed[conv.input[1]], np.float64).sum(axis=(2, 3))
            old = np.asarray(fixed[conv.input[2]], np.float64) if len(conv.input) > 2 else 0.0
            rest = np.broadcast_to(mean - zero, weight.shape[1])
            del conv.input[2:]
            conv.input.append(_constant(graph, f"{conv.name}.centred.bias", old - weight @ rest))
        node.input[1] = _constant(graph, f"{node.name}.centre", np.array(zero))


def _image_behind(node: NodeProto, graph: GraphProto, makers: dict[str, NodeProto]) -> str | None:
    """The uint8 tensor, the image or its transpose, that a node takes something from as floats."""
    cast = makers.get(node.input[0]) if node.op_type == "Sub" else None
    if cast is None or cast.op_type != "Cast" or attribute(cast, "to", 0) != TensorProto.FLOAT:
        return None
    before = makers.get(cast.input[0])
    image = before.input[0] if before is not None and before.op_type == "Transpose" else None
    bytes_in = {v.name for v in graph.input if v.type.tensor_type.elem_type == TensorProto.UINT8}
    return str(cast.input[0]) if bytes_in & {image, cast.input[0]} else None


def _can_take(
    conv: NodeProto, chosen: Collection[str], fixed: dict[str, NDArray[np.generic]]
) -> bool:
    dense = conv.op_type == "Conv" and attribute(conv, "group", 1) == 1
    return dense and conv.name in chosen and conv.input[1] in fixed


def _constant(graph: GraphProto, name: str, value: NDArray[np.float64]) -> str:
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return name
