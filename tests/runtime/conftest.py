"""Small files that keep the ONNX contract, built node by node, and images to classify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgedistill.onnx_file import seal

CLASSES = ("red", "green", "blue")
SIZE = 8
THRESHOLD = 1.5
# The score is twelve times the mean of the strongest channel in 0..1.
SCALE = 12.0
# What only training needs; asking for any of it fails, as on a device that has none of it.
ABSENT = (
    "filelock",
    "jinja2",
    "matplotlib",
    "onnx",
    "open_clip",
    "platformdirs",
    "safetensors",
    "scipy",
    "sklearn",
    "timm",
    "tomli_w",
    "torch",
    "torchvision",
)
ON_A_DEVICE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise AssertionError("imports " + name)
sys.meta_path.insert(0, Absent())
"""
COMMAND = """
sys.argv[0] = "edgedistill"
from edgedistill.cli.app import main
main()
"""


def make_model(
    classes: tuple[str, ...] = CLASSES, size: int = SIZE, threshold: float = THRESHOLD
) -> onnx.ModelProto:
    """Classes are the colour channels; the logit is the channel's mean."""
    weights = np.eye(3, len(classes), dtype=np.float32) * np.float32(SCALE / 255)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["logits"], ["score"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Less", ["score", "threshold"], ["rejected"]),
        helper.make_node("Where", ["rejected", "unknown", "best"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "student",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3]),
            helper.make_tensor_value_info("threshold", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(threshold), "threshold"),
            numpy_helper.from_array(np.int64(-1), "unknown"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata(classes, size, threshold))
    return model


def metadata(
    classes: tuple[str, ...] = CLASSES, size: int = SIZE, threshold: float = THRESHOLD
) -> dict[str, str]:
    calibration = {"value": threshold, "acceptance": 0.95, "calibration": "source validation"}
    values: dict[str, str] = {
        "contract": "1",
        "classes": json.dumps(classes),
        "unknown_label": "-1",
        "score": "max_logit",
        "threshold": json.dumps({**calibration, "images": 252}),
        "input": json.dumps({"size": size, "resize": "pillow-bilinear-stretch/1"}),
        "precision": "fp32",
        "recipe_sha256": "0" * 64,
        "version": "0.1.0",
        "metrics": json.dumps({"target": {"h_score": 0.5}, "source_val": {"accuracy": 0.9}}),
        "student": "mobilenet_v3_small",
        "method": "scipd",
    }
    return {f"edgedistill.{key}": value for key, value in values.items()}


@pytest.fixture(scope="session")
def proto() -> Callable[..., onnx.ModelProto]:
    """`make_model`: an unsealed model that classifies by colour."""
    return make_model


@pytest.fixture(scope="session")
def told() -> Callable[..., dict[str, str]]:
    """`metadata`: what such a model says about itself."""
    return metadata


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a model, sealed unless told otherwise, with some metadata changed (None: left out)."""

    def write(
        model: onnx.ModelProto | None = None,
        changes: Mapping[str, str | None] | None = None,
        sealed: bool = True,
    ) -> Path:
        made = make_model() if model is None else model
        said = {p.key: p.value for p in made.metadata_props}
        said |= {f"edgedistill.{key}": value for key, value in (changes or {}).items()}
        del made.metadata_props[:]
        helper.set_model_props(made, {k: v for k, v in said.items() if v is not None})
        data = made.SerializeToString()
        path = tmp_path / "student.onnx"
        path.write_bytes(seal(data) if sealed else data)
        return path

    return write


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that keeps the contract."""
    path = tmp_path_factory.mktemp("model") / "student.onnx"
    path.write_bytes(seal(make_model().SerializeToString()))
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.png, green.jpg and blue.webp that are known, dark.bmp that is not."""
    folder = tmp_path_factory.mktemp("photos")
    colours = {"red.png": (250, 10, 0), "green.jpg": (0, 240, 20), "blue.webp": (0, 0, 230)}
    for name, colour in {**colours, "dark.bmp": (20, 10, 10)}.items():
        Image.new("RGB", (30, 20), colour).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def device_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONWARNINGS": "default"}


@pytest.fixture(scope="session")
def on_device(device_environment: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start Python code in a process in which what training needs cannot be imported."""

    def start(
        code: str, *args: str | Path, cwd: Path | None = None, absent: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        guard = f"ABSENT = {ABSENT + absent!r}{ON_A_DEVICE}"
        return subprocess.Popen(
            [sys.executable, "-c", guard + code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=device_environment,
        )

    return start


@pytest.fixture(scope="session")
def command(
    on_device: Callable[..., subprocess.Popen[bytes]],
) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `edgedistill ...` in such a process."""
    return lambda *args, **options: on_device(COMMAND, *args, **options)
