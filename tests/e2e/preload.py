"""Imports of the command line's server: all that its forks would each import again.

torch, matplotlib and Pillow import much at the first use, so a small network is exported here, a
plot is drawn, and every format of images is registered.
"""

from __future__ import annotations

import io
import warnings

import matplotlib.style  # noqa: F401
import torch
from PIL import Image
from torch import nn

import edgedistill.bench.run
import edgedistill.data.info
import edgedistill.export.build
import edgedistill.report.page
import edgedistill.runs.pipeline
import edgedistill.runs.recipe_caches
import edgedistill.runs.start
import edgedistill.runs.teacher
import edgedistill.sweep.export_task
import edgedistill.sweep.run  # noqa: F401
from edgedistill.registries import DATASETS, EXPORTERS, METHODS, SCORES, STUDENTS
from edgedistill.report.plots import training_curves
from edgedistill.report.style import png
from edgedistill.sweep.engines import ENGINES

ENGINES["fork"] = "fork_engine"

with warnings.catch_warnings(), torch.no_grad():
    warnings.simplefilter("ignore")
    torch.onnx.export(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()).eval(),
        (torch.zeros(2, 3, 4, 4),),
        io.BytesIO(),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        verbose=False,
    )
png(training_curves([]))
Image.init()
for registry in (DATASETS, EXPORTERS, METHODS, SCORES, STUDENTS):
    # Reading a registry's names imports its entries.
    list(registry)
