"""Choice of a student's nodes for int8: the fastest set that was measured, or else a rule.

int8 is not faster everywhere: every border between integers and floats costs a pass over the
tensor, and squeeze-and-excitation works on too few numbers to win it back. `policy.json`
holds, per student, the nodes with which `benchmarks/int8_policy.py` found the file fastest.
"""

import json
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path

from onnx import GraphProto, ModelProto, NodeProto

from edgedistill.export.int8.quantize import HARD, SAME_RANGE, WEIGHTED
from edgedistill.export.onnx.simplify import attribute, constants

POLICY_FILE = Path(__file__).with_name("policy.json")
# torchvision's MobileNetV3 counts its blocks once, its EfficientNet by stage and block, ResNet by
# layer and block; timm's networks have stages of blocks or blocks alone.
_BLOCK = re.compile(
    r"backbone\.(features\.\d+(?:\.\d+(?=\.block))?|layer\d\.\d+"
    r"|stages\.\d+(?:\.blocks)?\.\d+|blocks\.\d+(?:\.\d+)?)"
)


def chosen_nodes(student: str, model: ModelProto) -> list[str]:
    """Names of the nodes to quantize, in the order of the graph; may be empty.

    For a student that was measured, the fastest set even where float is faster still: the file is
    smaller then. For others the nodes of `pointwise_or_all`.
    """
    graph = model.graph
    names = set(_measured_policy().get(student, ())) or pointwise_or_all(graph)
    return [node.name for node in graph.node if node.name in names]


def block_of(node: str) -> str:
    """The residual block that a node's name puts it in; "stem" outside all blocks."""
    match = _BLOCK.match(node)
    return match.group(1) if match else "stem"


def pointwise_or_all(graph: GraphProto) -> set[str]:
    """The nodes to quantize of a student that was not measured.

    Pointwise convolutions of a network that has depthwise ones too; convolutions alone of a network
    with attention (a MatMul of two activations), whose sums follow float nodes; else convolutions,
    sums and max poolings. All others stay float: squeeze-and-excitation, attention, linear layers,
    the classifier and the scores.
    """
    kinds = node_kinds(graph)
    if {"depthwise", "pointwise"} <= set(kinds.values()):
        chosen = {"pointwise"}
    elif _has_attention(graph):
        chosen = {"convolution", "pointwise"}
    else:
        chosen = {"convolution", "pointwise", "add", "maxpool"}
    return {name for name, kind in kinds.items() if kind in chosen}


def node_kinds(graph: GraphProto) -> dict[str, str]:
    """The kind of each node that can be quantized, by the node's name; others are left out.

    Kinds: "convolution", "pointwise", "depthwise", "classifier", "activation" (hard-swish, and the
    sigmoid and product of a SiLU), "gate" (all of squeeze-and-excitation), or the node's own kind
    in lower case: "add", "maxpool", "globalaveragepool" (the last one, before the classifier).
    """
    weights = constants(graph)
    kinds: dict[str, str] = {}
    # Values with one number per channel: behind a global pooling, before they scale the maps.
    pooled: set[str] = set()
    computed = {name for node in graph.node for name in node.output}
    for node in graph.node:
        activations = [name for name in node.input if name in computed]
        pooled_inputs = [name for name in activations if name in pooled]
        all_pooled = bool(pooled_inputs) and len(pooled_inputs) == len(activations)
        if node.op_type == "GlobalAveragePool" or all_pooled:
            pooled.update(node.output)
        kind: str | None
        if node.op_type == "Mul" and pooled_inputs and not all_pooled:
            kind = "gate"
        elif node.op_type in ("Add", "Mul") and len(activations) < 2:
            kind = None
        else:
            kind = _kind(node, weights, bool(pooled_inputs))
        if kind is not None:
            kinds[node.name] = kind
    pools = [node.name for node in graph.node if node.op_type == "GlobalAveragePool"]
    return kinds | dict.fromkeys(pools, "gate") | dict.fromkeys(pools[-1:], "globalaveragepool")


def _kind(node: NodeProto, weights: Collection[str], pooled: bool) -> str | None:
    operator = node.op_type
    if operator in WEIGHTED and node.input[1] not in weights:
        return None
    if operator == "Gemm":
        return "classifier"
    if pooled:
        return "gate" if operator in (*WEIGHTED, *HARD, "Sigmoid", "Mul") else None
    if operator == "Conv":
        if attribute(node, "group", 1) > 1:
            return "depthwise"
        shape = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        return "pointwise" if all(side == 1 for side in shape) else "convolution"
    if operator in (*HARD, "Sigmoid", "Mul"):
        return "activation"
    if operator in (*SAME_RANGE, "Add"):
        return operator.lower()
    return None


def _has_attention(graph: GraphProto) -> bool:
    weights = constants(graph)
    return any(n.op_type == "MatMul" and weights.keys().isdisjoint(n.input) for n in graph.node)


@cache
def _measured_policy() -> dict[str, list[str]]:
    """Names of the nodes to quantize, by student."""
    if not POLICY_FILE.is_file():
        return {}
    entries = json.loads(POLICY_FILE.read_text(encoding="utf-8"))
    return {student: entry["nodes"] for student, entry in entries.items()}
