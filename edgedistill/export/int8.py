"""An fp32 model to int8: which ranges its activations have, and how much of them to keep."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgedistill.export.quantise import Ranges, merge_relu, quantise, tensors
from edgedistill.export.session import INPUTS, answers, open_session

# Shares of the calibration images whose extremes a range holds; 1 is their minimum and maximum.
SHARES = (1.0, 0.98, 0.9, 0.75)
_BATCH = 4


def to_int8(model: ModelProto, chosen: Collection[str], views: NDArray[np.uint8]) -> ModelProto:
    """The model with the chosen nodes in int8, calibrated on views: uint8 [N, S, S, 3], N > 0.

    Ranges that leave outliers out give the rest finer steps. How many to leave out is chosen by
    the squared error of the probabilities on the same views. Raises ValueError as `quantise`.
    """
    merged = merge_relu(model, chosen)
    extremes = observe(model, tensors(merged, chosen), views)
    expected = answers(open_session(model.SerializeToString()), views).probabilities
    best, least = None, np.inf
    for share in SHARES:
        made = quantise(merged, chosen, ranges(extremes, share))
        found = answers(open_session(made.SerializeToString()), views).probabilities
        error = float(np.square(found - expected).mean())
        if error < least or best is None:
            best, least = made, error
    assert best is not None
    return best


def observe(
    model: ModelProto, names: Collection[str], views: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Smallest and largest value of each named tensor in each view: float32 [N, 2] per name."""
    watched = ModelProto()
    watched.CopyFrom(model)
    present = {output.name for output in watched.graph.output}
    wanted = [name for name in names if name not in present]
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted
    )
    session = open_session(watched.SerializeToString())
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for start in range(0, len(views), _BATCH):
        part = np.ascontiguousarray(views[start : start + _BATCH])
        for name, value in zip(wanted, session.run(wanted, {INPUTS[0]: part}), strict=True):
            flat = value.reshape(len(part), -1)
            found[name].append(np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def ranges(extremes: Mapping[str, NDArray[np.float32]], share: float) -> Ranges:
    """A range per tensor that holds the extremes of the given share of the views."""
    return {
        name: (
            float(np.quantile(values[:, 0], 1 - share, method="lower")),
            float(np.quantile(values[:, 1], share, method="higher")),
        )
        for name, values in extremes.items()
    }
