"""Time and accuracy of int8 files by this package's quantizer and by onnxruntime's.

    python -m benchmarks.libraries.quantizers runs/small runs/b0

For each run folder the fp32 file is quantized in these ways, with the nodes of the student's policy
and the ranges of the same training views:

- "package": export/int8, as `edgedistill export --int8` does before it looks at the budget;
- "QDQQuantizer": onnxruntime's quantizer, the one inside `quantize_static`, per channel, with
  reduced range and uint8 activations;
- "QDQQuantizer, gates split": the same after each chosen HardSwish and HardSigmoid was written as
  products, a sum and a clip, which onnxruntime has integer kernels for.

Accuracy, and agreement with fp32, are on source validation at the run's input size. Times are
medians of interleaved runs of one image on one thread, in CPU time of that thread, at the run's
size and at 224 px.
"""

import argparse
import json
import time
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.export.finished import FinishedRun
from edgedistill.export.images import ExportImages
from edgedistill.export.int8.calibrate import calibrate_ranges, extremes, ranges, to_int8
from edgedistill.export.int8.policy import chosen_nodes
from edgedistill.export.int8.quantize import Ranges
from edgedistill.export.latency import interleaved, median_ratio
from edgedistill.export.onnx.graph import export_graph
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.onnx.simplify import consumers
from edgedistill.export.session import open_session, run_model
from edgedistill.runs.finished import load_finished
from edgedistill.runs.folder import RunFolder

VIEWS = 128
# At another size than the run's only the time is measured: a few views give ranges to write down.
FEW_VIEWS = 4


def by_onnxruntime(model: ModelProto, nodes: Collection[str], ranges: Ranges) -> ModelProto:
    """The model with the named nodes in int8, by onnxruntime's QDQ quantizer."""
    readers = consumers(model.graph)
    # onnxruntime drops a Relu or Clip that follows an integer node if it is told to quantize it.
    chosen = set(nodes)
    for node in model.graph.node:
        next_nodes = readers[node.output[0]]
        if node.name in chosen and len(next_nodes) == 1 and next_nodes[0].op_type == "Relu":
            chosen.add(next_nodes[0].name)
    copy = onnx.shape_inference.infer_shapes(model)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {n: (np.array(a, np.float32), np.array(b, np.float32)) for n, (a, b) in ranges.items()},
        ),
        nodes_to_quantize=sorted(chosen),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted({n.op_type for n in model.graph.node if n.name in chosen}),
        extra_options={},
    )
    quantizer.quantize_model()
    result: ModelProto = quantizer.model.model
    return result


def split_hard_gates(
    model: ModelProto, nodes: Collection[str]
) -> tuple[ModelProto, frozenset[str]]:
    """The model with each named hard gate as x / 6 + 1/2, clipped; and the nodes to quantize."""
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for name, value in (("sixth", 1 / 6), ("half", 0.5), ("zero", 0.0), ("one", 1.0)):
        constant = numpy_helper.from_array(np.array(value, np.float32), f"gate.{name}")
        graph.initializer.append(constant)
    written: list[NodeProto] = []
    chosen = set(nodes)
    for node in model.graph.node:
        if node.name not in nodes or node.op_type not in ("HardSwish", "HardSigmoid"):
            written.append(node)
            continue
        source, output, name = node.input[0], node.output[0], node.name
        gate = output if node.op_type == "HardSigmoid" else f"{output}.gate"
        parts = [
            helper.make_node("Mul", [source, "gate.sixth"], [f"{output}.sixth"], f"{name}:sixth"),
            helper.make_node(
                "Add", [f"{output}.sixth", "gate.half"], [f"{output}.sum"], f"{name}:add"
            ),
            helper.make_node(
                "Clip", [f"{output}.sum", "gate.zero", "gate.one"], [gate], f"{name}:clip"
            ),
        ]
        if node.op_type == "HardSwish":
            parts.append(helper.make_node("Mul", [source, gate], [output], f"{name}:mul"))
        written += parts
        chosen = chosen - {name} | {part.name for part in parts}
    del graph.node[:]
    graph.node.extend(written)
    return result, frozenset(chosen)


def quantized(student: str, model: ModelProto, views: NDArray[np.uint8]) -> dict[str, ModelProto]:
    """The model in int8, by each way of the module's list."""
    policy = chosen_nodes(student, model)
    files = {"package": to_int8(calibrate_ranges(model, policy, views), policy)}
    for way, (graph, nodes) in {
        "QDQQuantizer": (model, policy),
        "QDQQuantizer, gates split": split_hard_gates(model, policy),
    }.items():
        inferred = onnx.shape_inference.infer_shapes(graph).graph.value_info
        tensors = [v.name for v in inferred if v.type.tensor_type.elem_type == TensorProto.FLOAT]
        files[way] = by_onnxruntime(graph, nodes, ranges(extremes(graph, tensors, views), 1.0))
    return files


def times(
    model: ModelProto, files: dict[str, ModelProto], image: NDArray[np.uint8], rounds: int
) -> dict[str, float]:
    """Time over fp32 of each file, and fp32's milliseconds under "fp32"."""
    contents = {name: file.SerializeToString() for name, file in {"fp32": model, **files}.items()}
    seconds = interleaved(contents, image, rounds, clock=time.thread_time)
    ratios = {name: round(median_ratio(seconds, name, "fp32"), 3) for name in files}
    return {"fp32": round(1000 * float(np.median(seconds["fp32"])), 3), **ratios}


def graph_of(run: FinishedRun, size: int) -> ModelProto:
    """The run's fp32 model at an input size."""
    module = Deployed(run.student, run.openset)
    return export_graph(module, size, len(run.classes), run.calibration.threshold)


def measure(run: FinishedRun, rounds: int) -> dict[str, Any]:
    """The record of one run."""
    student, size = run.recipe.student.model, run.recipe.student.size
    images = ExportImages(run, size)
    validation, views = images.validation(), images.training_views(VIEWS)
    model = graph_of(run, size)
    files = quantized(student, model, views)
    fp32 = run_model(open_session(model.SerializeToString()), validation.images)
    fp32_classes = fp32.probabilities.argmax(axis=1)
    quality: dict[str, Any] = {
        "fp32": {"accuracy": round(float((fp32_classes == validation.labels).mean()), 4)}
    }
    for name, file in files.items():
        int8 = run_model(open_session(file.SerializeToString()), validation.images)
        classes = int8.probabilities.argmax(axis=1)
        quality[name] = {
            "accuracy": round(float((classes == validation.labels).mean()), 4),
            "same_class_as_fp32": round(float((classes == fp32_classes).mean()), 4),
            "mean_probability_difference": round(
                float(np.abs(int8.probabilities - fp32.probabilities).mean()), 5
            ),
            "bytes_over_fp32": round(file.ByteSize() / model.ByteSize(), 3),
        }
    large = ExportImages(run, 224)
    large_views = large.training_views(FEW_VIEWS)
    large_model = graph_of(run, 224)
    return {
        "student": student,
        "size": size,
        "images": len(validation),
        "quality": quality,
        "time_over_fp32": {
            str(size): times(model, files, np.asarray(validation.images[:1]), rounds),
            "224": times(
                large_model, quantized(student, large_model, large_views), large_views[:1], rounds
            ),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="int8 by two quantizers.")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rounds", type=whole(3, 1000), default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("quantizers.json"))
    options = parser.parse_args()
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for folder in options.runs:
        before, date = moment(), datetime.now(UTC)
        run = load_finished(RunFolder(folder))
        entry = measure(run, options.rounds)
        record[entry["student"]] = {**entry, "machine": machine(before, moment(), date)}
        print(json.dumps(entry, indent=1), flush=True)
        write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
