"""Graph rewrites that change no answer and that torch.onnx does not do itself.

torch.onnx.export runs onnxscript's optimizer, which folds batch norms into convolutions, makes
initializers of constants and removes dead nodes. `benchmarks/libraries/batch_norm.json` records
that it leaves as many batch norms, and errs as little, as `torch.nn.utils.fusion` before the
export. Two rewrites are left to do here; int8 chooses its nodes from what they make.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

Array = NDArray[np.generic]
# Ends the name of a layer whose weights are no longer those it was trained with.
FOLDED = ".folded"


def simplify(graph: GraphProto) -> None:
    """Apply all rewrites in place; one whose pattern is not in the graph changes nothing."""
    fold_input_scale(graph)
    pool_globally(graph)
    drop_unused(graph)


def fold_input_scale(graph: GraphProto) -> None:
    """Move the normalization's factor per channel into the first convolution's filters.

    Exact, as zero padding stays zero under a factor; a shift would not, so it stays a node.
    onnxscript's `affine_conv_fusion_rule` takes scalars and convolutions without padding only.
    """
    values, uses = constants(graph), consumers(graph)
    for node in [n for n in graph.node if n.op_type == "Mul"]:
        scale = next((values[name] for name in node.input if name in values), None)
        readers = uses[node.output[0]]
        if scale is None or len(readers) != 1 or readers[0].op_type != "Conv":
            continue
        conv = readers[0]
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
    """Replace means over height and width by GlobalAveragePool, which runtimes have kernels for."""
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
    used = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if used.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            used.update(node.input)
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def constants(graph: GraphProto) -> dict[str, Array]:
    """Initializers by name, without those that are defaults of graph inputs."""
    inputs = {value.name for value in graph.input}
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name not in inputs}


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that computes each value, by the value's name."""
    return {name: node for node in graph.node for name in node.output}


def consumers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each value, by its name; an empty node stands for a graph output."""
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
    values = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return float(next(values, default))


def _set_filters(
    graph: GraphProto,
    conv: NodeProto,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
) -> None:
    """Give a convolution its own new weight and bias, named after the old weight."""
    names = {t.name for t in graph.initializer}
    stem = conv.input[1].removesuffix(".weight") + FOLDED
    while f"{stem}.weight" in names:
        stem += FOLDED
    del conv.input[1:]
    for kind, array in (("weight", weight), ("bias", bias)):
        if array is not None:
            name = f"{stem}.{kind}"
            graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
            conv.input.append(name)
