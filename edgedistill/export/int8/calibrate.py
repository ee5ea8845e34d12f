"""An fp32 model to int8: the ranges of its activations, and what to leave float for the answers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgedistill.export.int8.policy import block_of, node_kinds
from edgedistill.export.int8.prepare import prepare
from edgedistill.export.int8.quantize import Ranges, quantize, tensors
from edgedistill.export.session import answers, open_session
from edgedistill.runtime.contract import INPUTS

# Shares of the calibration images whose extremes a range holds; 1 is their minimum and maximum.
SHARES = (1.0, 0.98, 0.9, 0.75)
_BATCH = 4


@dataclass(frozen=True)
class CalibratedModel:
    """A float model on calibration views: uint8 [N, S, S, 3].

    `extremes` holds, per tensor, the smallest and largest value in each view, float32 [N, 2];
    `probabilities` the model's answers, float32 [N, C].
    """

    model: ModelProto
    views: NDArray[np.uint8]
    extremes: Mapping[str, NDArray[np.float32]]
    probabilities: NDArray[np.floating]


def calibrate_ranges(
    model: ModelProto, nodes: Collection[str], views: NDArray[np.uint8]
) -> CalibratedModel:
    """Run a model on N > 0 views and note what quantising any of the nodes will need."""
    # A Relu is merged into the node before it only where that node is chosen.
    names = {*tensors(prepare(model, nodes), nodes), *tensors(model, nodes)}
    probabilities = answers(open_session(model.SerializeToString()), views).probabilities
    return CalibratedModel(model, views, extremes(model, sorted(names), views), probabilities)


def to_int8(calibrated: CalibratedModel, chosen: Collection[str]) -> ModelProto:
    """The model with the chosen ones of the observed nodes in int8.

    Ranges that leave outliers out give the rest finer steps. How many to leave out is chosen by
    the error of the probabilities on the views. Raises ValueError as `quantize`.
    """
    tried = [_with_ranges(calibrated, chosen, share) for share in SHARES]
    errors = [_error(calibrated, model) for model in tried]
    return tried[int(np.argmin(errors))]


def fallback_sets(calibrated: CalibratedModel, chosen: Sequence[str]) -> Iterator[list[str]]:
    """The chosen nodes, then without the blocks that cost most answers, 1, 2, 4 and so on of them.

    What a block costs is the error of the probabilities with that block alone in int8. Last come
    the pointwise convolutions alone, which lose least. Never empty, no set twice.
    """
    yield list(chosen)
    blocks = list(dict.fromkeys(block_of(name) for name in chosen))
    alone = {block: [name for name in chosen if block_of(name) == block] for block in blocks}
    error = {
        b: _error(calibrated, _with_ranges(calibrated, names, 1.0)) for b, names in alone.items()
    }
    costly = sorted(blocks, key=lambda block: -error[block])
    given, count = {tuple(chosen)}, 1
    kinds = node_kinds(calibrated.model.graph)
    left = []
    while count < len(blocks):
        left.append([name for name in chosen if block_of(name) not in costly[:count]])
        count *= 2
    for names in [*left, [name for name in chosen if kinds.get(name) == "pointwise"]]:
        if names and tuple(names) not in given:
            given.add(tuple(names))
            yield names


def extremes(
    model: ModelProto, names: Sequence[str], views: NDArray[np.uint8]
) -> dict[str, NDArray[np.float32]]:
    """Smallest and largest value of each named tensor in each view: float32 [N, 2] per name."""
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = open_session(watched.SerializeToString())
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for start in range(0, len(views), _BATCH):
        part = np.ascontiguousarray(views[start : start + _BATCH])
        for name, value in zip(names, session.run(list(names), {INPUTS[0]: part}), strict=True):
            flat = value.reshape(len(part), -1)
            found[name].append(np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def ranges(found: Mapping[str, NDArray[np.float32]], share: float) -> Ranges:
    """A range per tensor that holds the extremes of the given share of the views."""
    return {
        name: (
            float(np.quantile(values[:, 0], 1 - share, method="lower")),
            float(np.quantile(values[:, 1], share, method="higher")),
        )
        for name, values in found.items()
    }


def _with_ranges(calibrated: CalibratedModel, chosen: Collection[str], share: float) -> ModelProto:
    return quantize(prepare(calibrated.model, chosen), chosen, ranges(calibrated.extremes, share))


def _error(calibrated: CalibratedModel, model: ModelProto) -> float:
    """Mean squared error of the probabilities on the views."""
    found = answers(open_session(model.SerializeToString()), calibrated.views).probabilities
    return float(np.square(found - calibrated.probabilities).mean())
