"""The answers of real files to image files: metrics, pairs, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from culprits import raises
from onnx import helper
from PIL import Image

from edgedistill.bench.data import find_images, same_classes
from edgedistill.bench.quality import answer, evaluate_answers
from edgedistill.bench.result import QUALITY_METRICS
from edgedistill.callbacks import CallbackList
from edgedistill.errors import BenchError, DataError
from edgedistill.runtime.contract import seal

CLASSES = ("red", "green", "blue")
CPU = ["CPUExecutionProvider"]
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (40, 40, 40)}


@pytest.fixture
def model(tmp_path: Path, proto: Callable[..., onnx.ModelProto]) -> Callable[..., Path]:
    def write(
        name: str,
        size: int = 8,
        threshold: float = 6.0,
        classes: tuple[str, ...] = CLASSES,
        scale: float = 12.0,
    ) -> Path:
        changed = proto(classes, size, threshold, scale)
        metadata = {p.key: p.value for p in changed.metadata_props}
        del changed.metadata_props[:]
        target = {"edgedistill.metrics": json.dumps({"target": {"domain": "sea"}})}
        helper.set_model_props(changed, metadata | target)
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(seal(changed.SerializeToString()))
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images of each of three known classes and one unknown; one of green looks blue."""
    root = tmp_path / "photos"
    for name, color in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(4):
            shown = COLORS["blue"] if (name, number) == ("green", 3) else color
            Image.new("RGB", (10 + number, 9), shown).save(root / name / f"{number}.png")
    return root


def quality_of(models: dict[str, Path], photos: Path, baseline: str) -> tuple:
    images = find_images(photos, CLASSES)
    answered = answer(models, images, CPU, CallbackList())
    return answered, *evaluate_answers(answered, images, baseline, resamples=200)


def test_metrics_by_hand(model: Callable[..., Path], photos: Path) -> None:
    _, quality, differences = quality_of({"a": model("a")}, photos, "a")
    metrics = quality["a"]
    values = {metric: metrics[metric]["value"] for metric in QUALITY_METRICS}
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
    assert metrics["accuracy"]["low"] < right < metrics["accuracy"]["high"]
    assert (metrics["known"], metrics["unknown"], metrics["unreadable"]) == (12, 4, 0)
    assert metrics["unknown_classes"] == ["grey"] and metrics["data"] == str(photos)
    assert metrics["target"] is None and metrics["own_target"] == "sea"
    assert metrics["threshold"] == 6
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
    # Shares of 12 known and of 4 unknown images, of which none showed a difference.
    shares = {"accuracy": 12, "known_acceptance": 12, "unknown_rejection": 4}
    for metric, difference in differences["same"].items():
        most = 1 - 0.025 ** (1 / shares[metric]) if metric in shares else 0
        expected = {"value": 0, "low": -most, "high": most, "p": 1}
        assert difference == pytest.approx(expected), metric
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
    with raises(BenchError, photos):
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
    with raises(DataError, "b and a", "classes", "'blue'"):
        same_classes([("a", CLASSES), ("b", ("red", "green", "pink"))])
