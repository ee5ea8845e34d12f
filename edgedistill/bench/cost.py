"""Parameters and multiply-accumulates of an exported file, counted while it runs once.

onnxruntime's profiler notes the shapes of what every node read and wrote. With all optimisations
off, the nodes are those of the file: quantised layers appear as convolutions and matrix products
between QuantizeLinear and DequantizeLinear, with the same shapes as in float.
"""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from edgedistill.runtime.contract import ModelInfo

Shape = Sequence[int]

# Where an operator has its first and second operand, and its bias if it may have one.
_OPERANDS = {
    "Conv": (0, 1, 2),
    "ConvInteger": (0, 1, None),
    "QLinearConv": (0, 3, 8),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1, None),
    "MatMulInteger": (0, 1, None),
    "QLinearMatMul": (0, 3, None),
}
# Operators that are not counted. A file with one of these has an unknown cost, not a smaller one.
_UNCOUNTED = frozenset(
    ("Attention", "ConvTranspose", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN")
)


class Cost(NamedTuple):
    """parameters: weights and biases of convolutions and matrix products; batch norms are folded
    into them by the export. macs: multiply-accumulates of the same for one image. None: unknown.
    """

    parameters: int | None
    macs: int | None


UNKNOWN = Cost(None, None)


def count(data: bytes, info: ModelInfo) -> Cost:
    """Run a file that `read_model` has checked on one black image and count.

    The CPU runs it whatever provider is measured: shapes do not depend on it.

    Returns: UNKNOWN when the CPU cannot run it, or it has layers that cannot be counted.
    """
    try:
        nodes = _profile(data, info.size)
    except Exception:
        # onnxruntime's errors have no common type. The model runs elsewhere; this is a remark.
        return UNKNOWN
    return count_nodes(nodes)


def count_nodes(nodes: Sequence[tuple[str, Sequence[Shape], Shape]]) -> Cost:
    """Count from (operator, shapes of its inputs, shape of its first output) per node."""
    parameters = macs = 0
    for operator, inputs, output in nodes:
        if operator in _UNCOUNTED:
            return UNKNOWN
        if operator not in _OPERANDS:
            continue
        first, second, bias = _OPERANDS[operator]
        a, b = inputs[first], inputs[second]
        if operator.endswith("Conv") or operator == "ConvInteger":
            # [out, in / groups, height, width]
            macs += math.prod(output) * math.prod(b[1:])
            parameters += math.prod(b)
        else:
            macs += math.prod(a) * output[-1]
            parameters += _matrix(a, b)
        if bias is not None and len(inputs) > bias:
            parameters += math.prod(inputs[bias])
    return Cost(parameters, macs)


def _matrix(a: Shape, b: Shape) -> int:
    """Size of the operand that is a weight.

    Every activation carries the batch. A second operand of rank 2 can only be a weight, or the
    product would mix images; the first is one only where the second is an activation.
    """
    if len(b) == 2:
        return math.prod(b)
    return math.prod(a) if len(a) == 2 else 0


def _profile(data: bytes, size: int) -> list[tuple[str, list[Shape], Shape]]:
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Or weights that a kernel has rearranged for itself are missing among its inputs.
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        try:
            session.run(["label"], {"image": np.zeros((1, size, size, 3), np.uint8)})
        finally:
            # Whatever happens, or it is written later, into a folder that is gone.
            written = session.end_profiling()
        events = json.loads(Path(written).read_text(encoding="utf-8"))
    return [
        (
            arguments["op_name"],
            _shapes(arguments["input_type_shape"]),
            _shapes(arguments["output_type_shape"])[0],
        )
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and "output_type_shape" in (arguments := event["args"])
        and arguments["output_type_shape"]
    ]


def _shapes(entries: list[dict[str, Any]]) -> list[Shape]:
    return [shape for entry in entries for shape in entry.values()]
