"""Which nodes of a student go to int8: what was measured to pay, and a rule for the rest.

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
    """Names of the nodes to quantise, in the order of the graph.

    The measured ones, the fastest that were found even where float is faster still: the file is
    smaller then. By the rule of `pointwise_or_all` for a student that was not measured.
    """
    graph = model.graph
    names = set(_measured().get(student, ())) or pointwise_or_all(graph)
    return [node.name for node in graph.node if node.name in names]


def block_of(node: str) -> str:
    """The residual block a node belongs to, by its name; "stem" for what is in none."""
    found = _BLOCK.match(node)
    return found.group(1) if found else "stem"


def pointwise_or_all(graph: GraphProto) -> set[str]:
    """Pointwise convolutions of networks that have depthwise ones too, else all of the backbone.

    Nodes of squeeze-and-excitation, matrix products and the scores stay float in both.
    """
    kinds = node_kinds(graph)
    if {"depthwise", "pointwise"} <= set(kinds.values()):
        return {name for name, kind in kinds.items() if kind == "pointwise"}
    wanted = {"convolution", "pointwise", "add", "maxpool"}
    return {name for name, kind in kinds.items() if kind in wanted}


def node_kinds(graph: GraphProto) -> dict[str, str]:
    """What each node that can be quantised is, by name; the rest is left out.

    "convolution", "pointwise", "depthwise", "classifier", "activation" (hard-swish, and the
    sigmoid and product of a SiLU), "gate" (all of squeeze-and-excitation), or the node's own kind
    in lower case: "add", "maxpool", "globalaveragepool" (the last one, before the classifier).
    """
    fixed = constants(graph)
    kinds: dict[str, str] = {}
    # Values with one number per channel: behind a global pooling, before they meet the image again.
    pooled: set[str] = set()
    inside = {name for node in graph.node for name in node.output}
    for node in graph.node:
        inputs = [name for name in node.input if name in inside and name not in fixed]
        from_pool = [name for name in inputs if name in pooled]
        meets = node.op_type == "Mul" and 0 < len(from_pool) < len(inputs)
        if node.op_type == "GlobalAveragePool" or (from_pool and len(from_pool) == len(inputs)):
            pooled.update(node.output)
        alone = node.op_type in ("Add", "Mul") and len(inputs) < 2
        kind = "gate" if meets else None if alone else _kind(node, fixed, bool(from_pool))
        if kind is not None:
            kinds[node.name] = kind
    pools = [node.name for node in graph.node if node.op_type == "GlobalAveragePool"]
    return kinds | dict.fromkeys(pools, "gate") | dict.fromkeys(pools[-1:], "globalaveragepool")


def _kind(node: NodeProto, fixed: Collection[str], pooled: bool) -> str | None:
    kind = node.op_type
    if kind == "Gemm":
        return "classifier"
    if pooled:
        return "gate" if kind in (*WEIGHTED, *HARD, "Sigmoid", "Mul") else None
    if kind == "Conv":
        if attribute(node, "group", 1) > 1:
            return "depthwise"
        shape = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        return "pointwise" if all(side == 1 for side in shape) else "convolution"
    if kind in (*HARD, "Sigmoid", "Mul"):
        return "activation"
    if kind in (*SAME_RANGE, "Add"):
        return kind.lower()
    return None


@cache
def _measured() -> dict[str, list[str]]:
    found = json.loads(POLICY_FILE.read_text(encoding="utf-8")) if POLICY_FILE.is_file() else {}
    return {student: entry["nodes"] for student, entry in found.items()}
