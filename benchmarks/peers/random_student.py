"""A student with random weights as a module and as files: speed does not depend on the weights."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgedistill.export.int8.calibrate import calibrate_ranges, to_int8
from edgedistill.export.int8.policy import chosen_nodes
from edgedistill.export.onnx.graph import export_graph
from edgedistill.export.onnx.module import Deployed
from edgedistill.methods import METHODS
from edgedistill.openset.head import OpenSetHead
from edgedistill.students.assemble import assemble_student

# As the embedded benchmark has; the last layer is a small part of any student.
CLASSES = 12


@dataclass(frozen=True)
class RandomStudent:
    """`module` and the files `fp32` and `int8` of the same weights, without metadata.

    `images` are uint8 [4, size, size, 3], what its batch norms and integer ranges were fitted to.
    """

    name: str
    size: int
    module: Deployed
    fp32: bytes
    int8: bytes
    images: NDArray[np.uint8]


def make_student(name: str, size: int) -> RandomStudent:
    """Random weights, and batch norms that fit them, so that no value vanishes on the way."""
    torch.manual_seed(0)
    erm = METHODS["erm"]
    student = assemble_student(name, erm(erm.Hyper(), text=None), CLASSES)
    for layer in student.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    rng = np.random.default_rng(0)
    # Blocks rather than noise: convolutions average noise away.
    side = -(-size // 8)
    blocks = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    images = np.ascontiguousarray(blocks.repeat(side, 1).repeat(side, 2)[:, :size, :size])
    module = Deployed(student, OpenSetHead("max_logit"))
    with torch.no_grad():
        module.train()
        module(torch.from_numpy(images), torch.tensor(0.0))
    module.eval().requires_grad_(False)
    model = export_graph(module, size, CLASSES, 0.0)
    nodes = chosen_nodes(name, model)
    int8 = to_int8(calibrate_ranges(model, nodes, images), nodes)
    return RandomStudent(
        name, size, module, model.SerializeToString(), int8.SerializeToString(), images
    )
