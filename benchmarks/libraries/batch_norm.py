"""Batch norms left, and error made, by torch.onnx's own folding and by torch.nn.utils.fusion.

    python -m benchmarks.libraries.batch_norm mobilenet_v3_small timm/repvit_m0_9

Each network has random weights and batch norms fitted to random images. It is exported as it is,
and after `torch.fx.experimental.optimization.fuse`, which finds the pairs for
`torch.nn.utils.fusion.fuse_conv_bn_eval`; a network that torch.fx cannot trace has none. For both
the record holds the BatchNormalization nodes in the file and the largest difference of an output
from the network in float64, beside the same difference of the network in float32.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript
import timm
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models import get_model

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.export.onnx.graph import quiet_exporter

NETWORKS = (
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "timm/mobilenetv4_conv_small",
    "timm/repvit_m0_9",
)


def network(name: str, images: Tensor) -> nn.Module:
    """A network of torchvision, or of timm after `timm/`, in evaluation mode."""
    torch.manual_seed(0)
    library, _, model = name.rpartition("/")
    net: nn.Module = timm.create_model(model) if library else get_model(model)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    with torch.no_grad():
        net.train()(images)
    return net.eval()


def exported(net: nn.Module, images: Tensor) -> onnx.ModelProto:
    """The network as torch.onnx writes it."""
    with quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(net, (images,), dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    return program.model_proto


def measure(name: str, size: int) -> dict[str, Any]:
    """The record of one network."""
    images = torch.rand(16, 3, size, size, generator=torch.Generator().manual_seed(0))
    net = network(name, images)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()(images.double()).numpy()
        float32 = float(np.abs(net(images).numpy() - exact).max())
    record: dict[str, Any] = {"float32_difference": float32, "scale": float(np.abs(exact).max())}
    for way in ("torch.onnx", "fused before"):
        try:
            model = exported(fuse(net) if way == "fused before" else net, images)
        except (torch.fx.proxy.TraceError, TypeError, AttributeError, RuntimeError) as error:
            record[way] = {"not_traced": type(error).__name__}
            continue
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
        record[way] = {
            "batch_norms": sum(n.op_type == "BatchNormalization" for n in model.graph.node),
            "nodes": len(model.graph.node),
            "difference": float(np.abs(outputs - exact).max()),
        }
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description="Batch norms that an export leaves.")
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--size", type=whole(32, 1024), default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("batch_norm.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {
        "versions": {m.__name__: m.__version__ for m in (torch, onnxscript, onnxruntime, timm)},
        "size": options.size,
        "networks": {},
    }
    for name in options.networks:
        record["networks"][name] = measure(name, options.size)
        print(name, json.dumps(record["networks"][name]), flush=True)
    write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
