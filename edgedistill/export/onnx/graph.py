"""Export of a torch module as a small, canonical ONNX model: equal modules give equal bytes."""

import contextlib
import copy
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
import torch
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgedistill.errors import ExportError
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.onnx.simplify import FOLDED, simplify
from edgedistill.runtime.contract import INPUTS, LOWEST, MAX_BYTES, OUTPUTS, seal

# onnxruntime 1.18 and newer reads both, and so do OpenVINO and onnxruntime-web.
OPSET = 18
IR_VERSION = 8


def stored_threshold(value: float) -> float:
    """The largest float32 that is at most `value`; for -inf the lowest finite one.

    Rounded down, so that the image whose score became the threshold stays accepted.
    """
    if value < LOWEST:
        return LOWEST
    rounded = np.float32(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def export_graph(module: Deployed, size: int, classes: int, threshold: float) -> ModelProto:
    """The module as an ONNX model, without metadata.

    Args:
        module: in evaluation mode.
        size: side of the input images in pixels.
        classes: number of known classes.
        threshold: default of the input of that name.

    Raises:
        ExportError: torch's exporter fails, or writes a graph of another form than expected.
    """
    return canonical(_torch_export(_exportable(module), size), size, classes, threshold)


def canonical(model: ModelProto, size: int, classes: int, threshold: float) -> ModelProto:
    """Rebuild a model from its nodes and weights alone, in the file contract's form.

    Raises ExportError when torch.onnx wrote local functions or other outputs.
    """
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    if model.functions or [o.name for o in graph.output] != list(OUTPUTS):
        raise ExportError(
            "torch.onnx wrote a graph of another form than expected; use a release of torch that "
            "this version was tested with"
        )
    _strip_prefix(graph, "openset.")
    simplify(graph)
    _name_nodes(graph)
    value = numpy_helper.from_array(np.array(stored_threshold(threshold), np.float32), INPUTS[1])
    weights = sorted((t for t in graph.initializer), key=lambda t: t.name)
    rebuilt = helper.make_graph(
        list(graph.node),
        "edgedistill",
        inputs=[
            helper.make_tensor_value_info(INPUTS[0], TensorProto.UINT8, ["N", size, size, 3]),
            helper.make_tensor_value_info(INPUTS[1], TensorProto.FLOAT, []),
        ],
        outputs=[
            helper.make_tensor_value_info(OUTPUTS[0], TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info(OUTPUTS[1], TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(OUTPUTS[2], TensorProto.FLOAT, ["N", classes]),
        ],
        initializer=[*(_plain(t) for t in weights), value],
    )
    return helper.make_model(
        rebuilt,
        producer_name="edgedistill",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def to_bytes(model: ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Check a model with onnx's full checker and serialize it with its metadata and checksum.

    Raises:
        ExportError: the model does not pass, or does not fit one file.
    """
    complete = ModelProto()
    complete.CopyFrom(model)
    helper.set_model_props(complete, dict(sorted(metadata.items())))
    if complete.ByteSize() >= MAX_BYTES:
        raise ExportError(
            f"the model has {complete.ByteSize() / 2**30:.1f} GiB and one ONNX file holds 2; "
            "choose a smaller student"
        )
    try:
        onnx.checker.check_model(complete, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"onnx's checker refuses the exported model: {error}; use releases of torch and onnx "
            "that this version was tested with"
        ) from error
    return seal(complete.SerializeToString(deterministic=True))


class _GlobalMean(nn.Module):
    """AdaptiveAvgPool2d(1) that exports as one ReduceMean, without gathering by strides."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def _exportable(module: Deployed) -> Deployed:
    """A copy of the module, in contiguous memory, of layers that export to plain nodes."""
    module = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, _GlobalMean())
    return module.eval()


def _torch_export(module: Deployed, size: int) -> ModelProto:
    example = (torch.zeros(2, size, size, 3, dtype=torch.uint8), torch.tensor(0.0))
    # A named dimension must hold for one image too, which torch 2.9 takes for a case of its own.
    shapes = {INPUTS[0]: {0: torch.export.Dim.DYNAMIC}, INPUTS[1]: None}
    try:
        with quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                dynamic_shapes=shapes,
                input_names=list(INPUTS),
                output_names=list(OUTPUTS),
                verbose=False,
            )
    except ModuleNotFoundError:
        raise
    except Exception as error:
        # The exporter's own errors have no common type, and none of them is the user's doing.
        raise ExportError(
            f"torch.onnx cannot export this student ({' '.join(str(error).split())[:300]}); use a "
            "release of torch that this version was tested with"
        ) from error
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def quiet_exporter() -> Iterator[None]:
    """Context without the output of torch's exporter: on stdout, in warnings and in logs."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _strip_prefix(graph: GraphProto, prefix: str) -> None:
    """Take a prefix off the weights' names."""
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix(prefix)
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = name.removeprefix(prefix)


def _name_nodes(graph: GraphProto) -> None:
    """Name a layer's node after its weights, any other after the node it reads and its operator.

    So `backbone.features.4.block.0.0:hardswish` is the activation behind that convolution, in
    every release of torch. The exporter's notes are dropped.
    """
    weights = {t.name for t in graph.initializer}
    names: dict[str, str] = {}
    count: Counter[str] = Counter()
    for node in graph.node:
        layer = next((i for i in node.input if i in weights and i.endswith(".weight")), None)
        source = next((names[i] for i in node.input if i in names), "input")
        name = layer_name(layer) if layer else f"{source}:{node.op_type.lower()}"
        count[name] += 1
        node.name = name if count[name] == 1 else f"{name}:{count[name]}"
        names |= dict.fromkeys(node.output, node.name)
        node.ClearField("doc_string")
        node.ClearField("metadata_props")


def layer_name(weight: str) -> str:
    """The student's layer that a weight belongs to: `backbone.features.0.0`."""
    return weight.removesuffix(".weight").replace(FOLDED, "").removeprefix("student.")


def _plain(tensor: TensorProto) -> TensorProto:
    """A weight as raw bytes, without the exporter's notes."""
    return numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
