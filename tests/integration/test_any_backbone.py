"""Students of several families of timm: trained, exported in float32 and int8, and asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
import torch
from culprits import raises
from PIL import Image

import edgedistill as ed
from edgedistill.errors import UsageError

# Networks of a few hundred thousand weights, by which timm tests its families.
TINY = ("test_vit", "test_efficientnet", "test_byobnet", "test_convnext")
SMALL = (
    "mobilenetv4_conv_small",
    "tf_mobilenetv3_small_075",
    "repvit_m0_9",
    "vit_tiny_patch16_224",
    "edgenext_xx_small",
    "lcnet_050",
)
SIDE = 32


@pytest.fixture
def trained(tree_of: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[[str], ed.Run]:
    def train(name: str) -> ed.Run:
        tree = tree_of(
            student={"model": f"timm/{name}", "size": SIDE},
            method={"name": "erm"},
            train={"steps": 2, "eval_every": 2},
        )
        return ed.run(tree, out=tmp_path / "run")

    return train


def pixels_of(path: Path) -> np.ndarray[Any, Any]:
    image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)[None]


def check_answers(file: Path, run: ed.Run, image: Path) -> None:
    """The file answers as the student does when its input is normalized by timm's statistics."""
    info = ed.Classifier(file).info
    assert info.student == run.recipe.student.model
    student, pixels = run.student, pixels_of(image)
    x = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (student.mean, student.std))
    with torch.no_grad():
        expected = student((x - mean) / std).logits.softmax(1).numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    _, _, probabilities = session.run(None, {"image": pixels})
    tolerance = 1e-4 if info.precision == "fp32" else 0.1
    np.testing.assert_allclose(probabilities, expected, atol=tolerance)
    answer = ed.Classifier(file).predict(image)
    assert answer.label in (None, *info.classes)


@pytest.mark.parametrize(
    # Layers of EfficientNet are also those of the MobileNets, which other fast tests export, and
    # ConvNeXt's norm and activation are the transformer's.
    "name",
    [
        pytest.param(
            n, marks=pytest.mark.slow if n in ("test_efficientnet", "test_convnext") else ()
        )
        for n in TINY
    ],
)
def test_a_family_trains_and_answers_in_int8(
    name: str, trained: Callable[[str], ed.Run], shapes: Path, tmp_path: Path
) -> None:
    run = trained(name)
    # Building the int8 file builds and checks the fp32 file on the way.
    written = run.export(tmp_path / "int8.onnx", precision="int8", max_drop=1.0)
    check_answers(written.path, run, shapes / "sea" / "cross" / "00.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_networks_that_people_ship(
    name: str,
    precision: Literal["fp32", "int8"],
    trained: Callable[[str], ed.Run],
    shapes: Path,
    tmp_path: Path,
) -> None:
    run = trained(name)
    written = run.export(tmp_path / "student.onnx", precision=precision, max_drop=1.0)
    check_answers(written.path, run, shapes / "sea" / "cross" / "00.png")


def test_a_network_of_a_fixed_side_is_not_exported_at_another(
    trained: Callable[[str], ed.Run], tmp_path: Path
) -> None:
    with raises(UsageError, "test_vit", 32):
        trained("test_vit").export(tmp_path / "a.onnx", size=48)
    assert not (tmp_path / "a.onnx").exists()
