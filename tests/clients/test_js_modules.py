"""Modules that the web and the node consumer share: resize rule, decision, metadata reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedistill.errors import ModelFileError
from edgedistill.runtime.contract import read_model, seal
from edgedistill.runtime.preprocess import RESIZE_RULE, to_rgb

Node = Callable[..., str]
Craft = Callable[..., bytes]

SIZES = (
    (1, 1, 8),
    (7, 1, 8),
    (1, 9, 8),
    (3, 2, 1),
    (64, 64, 64),
    (65, 64, 64),
    (223, 225, 224),
    (640, 480, 64),
    (33, 700, 32),
    (700, 33, 96),
)


def test_resize_is_that_of_training_to_the_bit(node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = {}
    for width, height, _ in SIZES:
        image = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        image.tofile(tmp_path / f"{width}x{height}.rgba")
        images[width, height] = Image.fromarray(np.ascontiguousarray(image[..., :3]))
    node("stretch.mjs", tmp_path, json.dumps(SIZES))
    for width, height, size in SIZES:
        pixels = np.fromfile(tmp_path / f"{width}x{height}.rgb", np.uint8)
        expected = to_rgb(images[width, height], size)
        np.testing.assert_array_equal(pixels.reshape(size, size, 3), expected, str((width, height)))


def test_a_line_of_pixels_does_not_fill_the_memory(node: Node) -> None:
    assert node("stretch_a_line.mjs").strip() == "1 x 1000000 is too tall to be resized to 224 px"


def test_every_transparency_is_laid_on_white_as_pillow_does(node: Node, tmp_path: Path) -> None:
    color, alpha = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    image = np.stack([color, 255 - color, color // 2, alpha], -1).astype(np.uint8)
    path = tmp_path / "pixels"
    image.tofile(path)
    node("on_white.mjs", path)
    white = Image.new("RGBA", (256, 256), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(image)))
    np.testing.assert_array_equal(np.fromfile(path, np.uint8).reshape(expected.shape), expected)


def test_decision_is_the_contracts(node: Node) -> None:
    assert json.loads(node("decide.mjs")) == [
        {"known": True, "best": 1},
        {"known": False, "best": 1},
        # A threshold is a float32 in the model, and so here.
        {"known": True, "best": 0},
        {"known": False, "best": 1},
        {"known": True, "best": 0},
        True,
        False,
    ]


def contracts(node: Node, *paths: Path) -> list[dict]:
    return [json.loads(line) for line in node("read_contracts.mjs", *paths).splitlines()]


def test_contract_is_read_from_the_file(node: Node, crafted: Path, exported: Path) -> None:
    for path, answer in zip((crafted, exported), contracts(node, crafted, exported), strict=True):
        _, info = read_model(path)
        assert answer["contract"] == {
            "classes": list(info.classes),
            "score": info.score,
            "threshold": info.threshold,
            "acceptance": info.target_keep_rate,
            "size": info.size,
            "student": info.student,
            "method": info.method,
            "precision": info.precision,
            "version": info.version,
        }


def test_javascript_knows_the_rule_of_the_package(node: Node) -> None:
    assert node("resize_rule.mjs").strip() == RESIZE_RULE


@pytest.mark.parametrize(
    ("metadata", "culprit"),
    [
        ({"contract": "2"}, "version"),
        ({"classes": "[]"}, "classes"),
        ({"classes": '["a", 3]'}, "classes"),
        ({"classes": "[" * 5000}, "classes"),
        ({"threshold": "NaN"}, "threshold"),
        ({"threshold": '{"value": "1"}'}, "threshold"),
        ({"threshold": "null"}, "threshold"),
        ({"input": '{"size": 1e9, "resize": "pillow-bilinear-stretch/1"}'}, "input"),
        ({"input": '{"size": 24, "resize": "lanczos/9"}'}, "resize rule"),
    ],
)
def test_metadata_that_break_the_contract_are_refused_in_a_line(
    node: Node, craft: Craft, tmp_path: Path, metadata: dict[str, str], culprit: str
) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(seal(craft(**metadata)))
    (answer,) = contracts(node, path)
    assert answer["kind"] == "Error" and culprit in answer["error"] and "\n" not in answer["error"]


def test_damaged_and_foreign_files_are_refused_in_a_line(
    node: Node, craft: Craft, tmp_path: Path, crafted: Path
) -> None:
    good = crafted.read_bytes()
    rng = np.random.default_rng(2)
    files = [
        b"",
        b"\x08",
        b"PK\x03\x04" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"version https://git-lfs.github.com/spec/v1\n",
        # Lengths and numbers that claim more than there is, or more than fits in 64 bits.
        b"\x3a" + b"\xff" * 9 + b"\x01",
        b"\x72" + b"\xff" * 20,
        b"\x72\x7f" + bytes(10),
        b"\x08" + b"\x80" * 1000,
        bytes(1000),
        # Metadata of another program, an unsealed file, a repeated key.
        craft(),
        good + good[good.rindex(b"\x72") :],
    ]
    files += [good[: int(cut)] for cut in rng.integers(0, len(good), 60)]
    for _ in range(120):
        broken = bytearray(good)
        broken[int(rng.integers(len(good)))] ^= int(rng.integers(1, 256))
        files.append(bytes(broken))
    paths = []
    for number, data in enumerate(files):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(data)
        paths.append(path)
    for path, answer in zip(paths, contracts(node, *paths), strict=True):
        assert answer.get("kind") == "Error", (path.name, answer)
        assert answer["error"] and "\n" not in answer["error"]
        with pytest.raises(ModelFileError):
            read_model(path)
