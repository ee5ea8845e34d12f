"""The answers of real files to image files: metrics, pairs, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgedistill.bench.data import find_images, same_classes
from edgedistill.bench.quality import answer, judge
from edgedistill.bench.result import QUALITY_METRICS
from edgedistill.display import Display
from edgedistill.errors import EdgeDistillError
from edgedistill.onnx_file import seal

CLASSES = ("red", "green", "blue")
CPU = ["CPUExecutionProvider"]
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (40, 40, 40)}


def colour_model(size: int, threshold: float, classes: tuple[str, ...], gain: float) -> bytes:
    """Classes are the colour channels; the logit is `gain` times the channel's mean in 0..1."""
    weights = np.eye(3, dtype=np.float32) * np.float32(gain / 255)
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
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.float32(threshold), "threshold"),
            numpy_helper.from_array(np.int64(-1), "unknown"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    calibration = {"value": threshold, "acceptance": 0.95, "calibration": "source validation"}
    said = {
        "contract": "1",
        "classes": json.dumps(classes),
        "unknown_label": "-1",
        "score": "max_logit",
        "threshold": json.dumps({**calibration, "images": 252}),
        "input": json.dumps({"size": size, "resize": "pillow-bilinear-stretch/1"}),
        "precision": "fp32",
        "recipe_sha256": "0" * 64,
        "version": "0.1.0",
        "metrics": json.dumps({"target": {"domain": "sea"}}),
        "student": "mobilenet_v3_small",
        "method": "scipd",
    }
    helper.set_model_props(model, {f"edgedistill.{key}": value for key, value in said.items()})
    return seal(onnx.ModelProto.SerializeToString(model))


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., Path]:
    def write(
        name: str,
        size: int = 8,
        threshold: float = 6.0,
        classes: tuple[str, ...] = CLASSES,
        gain: float = 12.0,
    ) -> Path:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(colour_model(size, threshold, classes, gain))
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images of each of three known classes and one unknown; one of green looks blue."""
    root = tmp_path / "photos"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(4):
            shown = COLOURS["blue"] if (name, number) == ("green", 3) else colour
            Image.new("RGB", (10 + number, 9), shown).save(root / name / f"{number}.png")
    return root


def quality_of(models: dict[str, Path], photos: Path, baseline: str) -> tuple:
    images = find_images(photos, CLASSES)
    answered = answer(models, images, CPU, Display(quiet=True))
    return answered, *judge(answered, images, baseline, resamples=200)


def test_metrics_by_hand(model: Callable[..., Path], photos: Path) -> None:
    _, quality, differences = quality_of({"a": model("a")}, photos, "a")
    found = quality["a"]
    values = {metric: found[metric]["value"] for metric in QUALITY_METRICS}
    right = 11 / 12
    assert values == {
        "accuracy": right,
        "known_acceptance": 1,
        "unknown_rejection": 1,
        "h_score": pytest.approx(2 * right / (right + 1)),
        "best_h_score": pytest.approx(2 * right / (right + 1)),
        "oracle_h_score": pytest.approx(2 * right / (right + 1)),
        "auroc": 1,
        "fpr95": 0,
        "oscr": pytest.approx(right),
    }
    assert found["accuracy"]["low"] < right < found["accuracy"]["high"]
    assert (found["known"], found["unknown"], found["unreadable"]) == (12, 4, 0)
    assert found["unknown_classes"] == ["grey"] and found["data"] == str(photos)
    assert found["target"] is None and found["own_target"] == "sea"
    assert found["threshold"] == 6
    assert differences == {}


def test_models_of_other_sizes_and_class_orders_are_compared(
    model: Callable[..., Path], photos: Path
) -> None:
    turned = ("blue", "red", "green")
    models = {
        "a": model("a"),
        "same": model("same", size=16),
        "turned": model("turned", classes=turned),
        "open": model("open", threshold=0.1),
    }
    _, quality, differences = quality_of(models, photos, "a")
    assert list(differences) == ["same", "turned", "open"]
    for found in differences["same"].values():
        assert found == {"value": 0, "low": 0, "high": 0, "p": 1}
    # It calls red blue, and blue green: right about the one image that the other gets wrong.
    assert quality["turned"]["accuracy"]["value"] == pytest.approx(1 / 12)
    assert differences["turned"]["accuracy"]["value"] == pytest.approx(-10 / 12)
    assert differences["turned"]["accuracy"]["p"] == pytest.approx(2 * (1 + 12) / 2**12)
    assert differences["turned"]["auroc"]["value"] == 0
    # It accepts everything, so its deployed H-score is 0 and the rest stays.
    assert quality["open"]["h_score"]["value"] == 0
    assert differences["open"]["unknown_rejection"]["p"] == pytest.approx(2 / 2**4)
    assert differences["open"]["best_h_score"]["value"] == 0


def test_unreadable_images_are_left_out_for_all(model: Callable[..., Path], photos: Path) -> None:
    (photos / "red" / "0.png").write_bytes(b"no picture")
    (photos / "grey" / "0.png").write_bytes(b"")
    models = {"a": model("a"), "b": model("b", size=16)}
    answered, quality, _ = quality_of(models, photos, "a")
    assert [line.rpartition(": ")[2] for line in answered.unreadable] == [
        "the file is empty",
        "not an image",
    ]
    for name in models:
        assert len(answered.labels[name]) == 14
        assert (quality[name]["known"], quality[name]["unknown"]) == (11, 3)
        assert quality[name]["unreadable"] == 2
    for file in photos.glob("*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(EdgeDistillError, match="no image can be read"):
        quality_of(models, photos, "a")


def test_known_images_alone_have_no_open_set_figures(
    model: Callable[..., Path], photos: Path
) -> None:
    for file in (photos / "grey").iterdir():
        file.unlink()
    _, quality, differences = quality_of({"a": model("a"), "b": model("b")}, photos, "b")
    assert quality["a"]["accuracy"]["value"] == 11 / 12
    assert quality["a"]["unknown_classes"] == []
    for metric in ("h_score", "auroc", "unknown_rejection"):
        assert quality["a"][metric] == {"value": None, "low": None, "high": None}
        assert differences["a"][metric]["p"] is None


def test_models_must_know_the_same_classes() -> None:
    assert same_classes([("a", CLASSES), ("b", CLASSES[::-1])]) == CLASSES
    with pytest.raises(EdgeDistillError, match="b and a know different classes") as error:
        same_classes([("a", CLASSES), ("b", ("red", "green", "pink"))])
    assert "\n" not in str(error.value)
