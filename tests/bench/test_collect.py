"""Names of files, and the picture that is timed."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edgedistill.bench.collect import short_names
from edgedistill.bench.picture import describe, write_picture
from edgedistill.errors import EdgeDistillError


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a/student.onnx"], ["student.onnx"]),
        (["a/student.onnx", "a/student-int8.onnx"], ["student.onnx", "student-int8.onnx"]),
        (
            ["runs/a/student.onnx", "runs/b/student.onnx", "x.onnx"],
            ["a/student.onnx", "b/student.onnx", "x.onnx"],
        ),
        (["a/x.onnx", "./a/x.onnx", "b/x.onnx"], ["a/x.onnx", "a/x.onnx (2)", "b/x.onnx"]),
        (["/x.onnx", "/a/x.onnx"], ["/x.onnx", "a/x.onnx"]),
    ],
)
def test_names_are_short_and_tell_files_apart(paths: list[str], names: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == names


def test_the_generated_picture_is_a_photo_in_size_and_weight(tmp_path: Path) -> None:
    said = describe(write_picture(tmp_path))
    size, unit = said.split(", ")[1].split()
    assert said.startswith("640x480 JPEG, ") and unit == "bytes"
    assert 40_000 < int(size) < 90_000


def test_a_file_that_cannot_be_timed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    Image.new("RGB", (30, 20)).save(broken)
    broken.write_bytes(broken.read_bytes()[:40])
    for path in (broken, tmp_path / "missing.png", tmp_path):
        with pytest.raises(EdgeDistillError, match="give an image file"):
            describe(path)
