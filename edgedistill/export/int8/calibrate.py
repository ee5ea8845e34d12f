"""Calibration of an int8 model: activation ranges, and which nodes to leave float."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgedistill.export.int8.policy import block_of, node_kinds
from edgedistill.export.int8.prepare import prepare
from edgedistill.export.int8.quantize import Ranges, quantize, tensors
from edgedistill.export.session import open_session, run_model
from edgedistill.runtime.contract import INPUTS

# Shares of the calibration views whose extremes a range holds; 1 gives the minimum and maximum.
SHARES = (1.0, 0.98, 0.9, 0.75)
_BATCH = 4


@dataclass(frozen=True)
class CalibratedModel:
    """A float model with its activations and outputs on calibration views.

    Attributes:
        views: uint8 [N, S, S, 3].
        extremes: per tensor, the smallest and largest value in each view, float32 [N, 2].
        probabilities: the model's, float32 [N, C].
    """

    model: ModelProto
    views: NDArray[np.uint8]
    extremes: Mapping[str, NDArray[np.float32]]
    probabilities: NDArray[np.floating]


def calibrate_ranges(
    model: ModelProto, nodes: Collection[str], views: NDArray[np.uint8]
) -> CalibratedModel:
    """Run a model on views uint8 [N, S, S, 3], N > 0, and record the extremes of its activations.

    `nodes` are all that may be quantized later, any subset of them.
    """
    # A Relu is merged into the node before it only where that node is chosen.
    names = {*tensors(prepare(model, nodes), nodes), *tensors(model, nodes)}
    probabilities = run_model(open_session(model.SerializeToString()), views).probabilities
    return CalibratedModel(model, views, extremes(model, sorted(names), views), probabilities)


def to_int8(calibrated: CalibratedModel, chosen: Collection[str]) -> ModelProto:
    """The model with the chosen ones of the calibrated nodes in int8.

    Ranges that leave outliers out give the rest finer steps; of `SHARES`, the one with the smallest
    error of the probabilities on the views is taken. Raises ValueError as `quantize` does.
    """
    candidates = [_quantize(calibrated, chosen, share) for share in SHARES]
    errors = [_squared_error(calibrated, model) for model in candidates]
    return candidates[int(np.argmin(errors))]


def fallback_sets(calibrated: CalibratedModel, chosen: Sequence[str]) -> Iterator[list[str]]:
    """Ever smaller sets of nodes to try where int8 loses too much.

    First the chosen nodes; then without the 1, 2, 4, ... blocks of largest error, which is that of
    the probabilities with the block alone in int8; last the pointwise convolutions alone, which
    lose least. No set is empty, and none comes twice.
    """
    yield list(chosen)
    nodes_of: dict[str, list[str]] = {}
    for name in chosen:
        nodes_of.setdefault(block_of(name), []).append(name)
    errors = {
        block: _squared_error(calibrated, _quantize(calibrated, names, 1.0))
        for block, names in nodes_of.items()
    }
    by_error = sorted(nodes_of, key=lambda block: -errors[block])
    kinds = node_kinds(calibrated.model.graph)
    smaller, count = [], 1
    while count < len(by_error):
        smaller.append([name for name in chosen if block_of(name) not in by_error[:count]])
        count *= 2
    smaller.append([name for name in chosen if kinds.get(name) == "pointwise"])
    yielded = {tuple(chosen)}
    for names in smaller:
        if names and tuple(names) not in yielded:
            yielded.add(tuple(names))
            yield names


def extremes(
    model: ModelProto, names: Sequence[str], views: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Smallest and largest value of each named tensor in each view: float32 [N, 2] per name."""
    with_outputs = ModelProto()
    with_outputs.CopyFrom(model)
    with_outputs.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = open_session(with_outputs.SerializeToString())
    batches: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for start in range(0, len(views), _BATCH):
        batch = np.ascontiguousarray(views[start : start + _BATCH])
        for name, value in zip(names, session.run(list(names), {INPUTS[0]: batch}), strict=True):
            flat = value.reshape(len(batch), -1)
            batches[name].append(np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1))
    return {name: np.concatenate(parts) for name, parts in batches.items()}


def ranges(extremes: Mapping[str, NDArray[np.float32]], share: float) -> Ranges:
    """A range per tensor that holds the extremes, float32 [N, 2], of a share of the views."""
    return {
        name: (
            float(np.quantile(values[:, 0], 1 - share, method="lower")),
            float(np.quantile(values[:, 1], share, method="higher")),
        )
        for name, values in extremes.items()
    }


def _quantize(calibrated: CalibratedModel, chosen: Collection[str], share: float) -> ModelProto:
    return quantize(prepare(calibrated.model, chosen), chosen, ranges(calibrated.extremes, share))


def _squared_error(calibrated: CalibratedModel, model: ModelProto) -> float:
    """Mean squared error of a model's probabilities on the views."""
    outputs = run_model(open_session(model.SerializeToString()), calibrated.views)
    return float(np.square(outputs.probabilities - calibrated.probabilities).mean())
