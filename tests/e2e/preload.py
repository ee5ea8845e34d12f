"""Imports of the command line's server: all that its forks would each import again.

torch imports most of its exporter at the first export, so one of a layer is made here.
"""

from __future__ import annotations

import io
import warnings

import torch

import edgedistill.bench.run
import edgedistill.data.info
import edgedistill.export.build
import edgedistill.report.page
import edgedistill.runs.pipeline
import edgedistill.runs.recipe_caches
import edgedistill.runs.teacher
import edgedistill.sweep.export_task
import edgedistill.sweep.run  # noqa: F401
from edgedistill.sweep.engines import ENGINES

ENGINES["fork"] = "fork_engine"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.onnx.export(
        torch.nn.ReLU().eval(), (torch.zeros(1),), io.BytesIO(), dynamo=True, verbose=False
    )
