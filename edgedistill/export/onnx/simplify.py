"""Rewrites of an ONNX graph that change no answer and leave the device less to do.

onnxruntime does some of these at every start; done once here, the file is smaller, starts faster,
and what is left are the nodes that quantisation chooses from.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

Array = NDArray[np.generic]
# Ends the name of a layer whose weights are no longer those it was trained with.
FOLDED = ".folded"


def simplify(graph: GraphProto) -> None:
    """All rewrites, in place. Every one checks that its pattern is there; the rest stays as is."""
    constants_to_initializers(graph)
    fold_batch_norm(graph)
    fold_input_scale(graph)
    pool_globally(graph)
    drop_unused(graph)


def constants_to_initializers(graph: GraphProto) -> None:
    """Turn Constant nodes into initializers."""
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is not None:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            graph.node.remove(node)


def fold_batch_norm(graph: GraphProto) -> None:
    """Move an inference-time BatchNormalization into the convolution before it.

    y = (conv(x) - mean) * gamma / sqrt(var + eps) + beta is a convolution whose filters are scaled
    by gamma / sqrt(var + eps), in float64 before rounding.
    """
    values, makers, uses = constants(graph), producers(graph), consumers(graph)
    for norm in [n for n in graph.node if n.op_type == "BatchNormalization"]:
        conv = makers.get(norm.input[0])
        fixed = [values.get(name) for name in norm.input[1:5]]
        if conv is None or conv.op_type != "Conv" or len(uses[conv.output[0]]) != 1:
            continue
        weight = values.get(conv.input[1])
        if weight is None or any(v is None for v in fixed):
            continue
        gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in fixed)
        epsilon = attribute(norm, "epsilon", 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        bias = np.asarray(values[conv.input[2]], np.float64) if len(conv.input) > 2 else 0.0
        folded = np.asarray(weight, np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
        _set_filters(graph, conv, folded, (bias - mean) * factor + beta)
        conv.output[0] = norm.output[0]
        graph.node.remove(norm)


def fold_input_scale(graph: GraphProto) -> None:
    """Move the factors of the normalised image into the first convolution's filters.

    Exact, as zero padding stays zero under a factor; a shift would not, so it stays a node.
    """
    values, uses = constants(graph), consumers(graph)
    for node in [n for n in graph.node if n.op_type == "Mul"]:
        scale = next((values[name] for name in node.input if name in values), None)
        after = uses[node.output[0]]
        if scale is None or len(after) != 1 or after[0].op_type != "Conv":
            continue
        conv = after[0]
        weight = values.get(conv.input[1])
        per_channel = scale.ndim == 3 and scale.shape[1:] == (1, 1)
        if weight is None or not per_channel or attribute(conv, "group", 1) != 1:
            continue
        folded = np.asarray(weight, np.float64) * np.asarray(scale, np.float64)[None]
        bias = np.asarray(values[conv.input[2]], np.float64) if len(conv.input) > 2 else None
        _set_filters(graph, conv, folded, bias)
        conv.input[0] = next(name for name in node.input if name not in values)
        graph.node.remove(node)


def pool_globally(graph: GraphProto) -> None:
    """Name means over height and width what they are, a layout-aware kernel of every runtime."""
    values = constants(graph)
    for node in graph.node:
        if node.op_type != "ReduceMean" or attribute(node, "keepdims", 1) != 1:
            continue
        axes = values.get(node.input[1]) if len(node.input) > 1 else None
        if axes is None or sorted(axis % 4 for axis in axes.ravel().tolist()) != [2, 3]:
            continue
        pooled = helper.make_node("GlobalAveragePool", node.input[:1], node.output, node.name)
        node.CopyFrom(pooled)


def drop_unused(graph: GraphProto) -> None:
    """Remove nodes and initializers that no output depends on."""
    wanted = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            wanted.update(node.input)
    for tensor in [t for t in graph.initializer if t.name not in wanted]:
        graph.initializer.remove(tensor)


def constants(graph: GraphProto) -> dict[str, Array]:
    """Initializers by name. One that is also a graph input is no constant."""
    inputs = {value.name for value in graph.input}
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name not in inputs}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node behind every value."""
    return {name: node for node in graph.node for name in node.output}


def consumers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read every value; a graph output counts as a reader without a node."""
    uses: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.output:
            uses.setdefault(name, [])
        for name in node.input:
            uses.setdefault(name, []).append(node)
    for output in graph.output:
        uses.setdefault(output.name, []).append(NodeProto())
    return uses


def attribute(node: NodeProto, name: str, default: float) -> float:
    """A numeric attribute of a node, or its default."""
    found: Iterable[onnx.AttributeProto] = (a for a in node.attribute if a.name == name)
    return next((helper.get_attribute_value(a) for a in found), default)


def _set_filters(
    graph: GraphProto,
    conv: NodeProto,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
) -> None:
    """Give a convolution its own new weight and bias, named after the old weight."""
    taken = {t.name for t in graph.initializer}
    stem = conv.input[1].removesuffix(".weight") + FOLDED
    while f"{stem}.weight" in taken:
        stem += FOLDED
    del conv.input[1:]
    for kind, array in (("weight", weight), ("bias", bias)):
        if array is not None:
            name = f"{stem}.{kind}"
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
            conv.input.append(name)
