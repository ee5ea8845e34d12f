"""Names of files, and the picture that is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.bench.collect import BenchSettings, _noise, _Pair, short_names
from edgedistill.bench.picture import describe_image, write_picture
from edgedistill.bench.timing import NOISY, CallTimes
from edgedistill.errors import BenchError


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
        (["x", "x", "x (2)", "x"], ["x", "x (3)", "x (2)", "x (4)"]),
        (["x", "x (2)", "x", "x (2)"], ["x", "x (2)", "x (3)", "x (2) (2)"]),
    ],
)
def test_names_are_short_and_tell_files_apart(paths: list[str], names: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == names


def taken(seconds: float) -> CallTimes:
    return CallTimes([np.full(3, seconds)] * 6)


@pytest.mark.parametrize(("again", "verdict"), [(1.01, "quiet"), (0.99, "quiet"), (0.9, "noisy")])
def test_a_machine_is_noisy_when_one_setting_is(again: float, verdict: str) -> None:
    plan = BenchSettings([1], [1, 8], 6, Path("x.png"), "", ["CPUExecutionProvider"])
    quiet = [taken(5.0), taken(2.0), taken(2.0)]
    # The second model is the baseline; what is last is its second loading.
    pairs = [_Pair(quiet, quiet), _Pair(quiet, [taken(5.0), taken(2.0), taken(2.0 * again)])]
    noise = _noise(plan, pairs, 1)
    assert (noise["verdict"], noise["limit"]) == (verdict, NOISY)
    assert noise["worst"] == pytest.approx(abs(again - 1))
    assert [row["batch"] for row in noise["settings"]] == [1, 8]
    assert noise["settings"][0]["model"] == {"value": 1, "low": 1, "high": 1, "noise": 0}
    assert noise["settings"][1]["decision"]["value"] == pytest.approx(again)


def test_the_generated_picture_is_a_photo_in_size_and_weight(tmp_path: Path) -> None:
    description = describe_image(write_picture(tmp_path))
    size, unit = description.split(", ")[1].split()
    assert description.startswith("640x480 JPEG, ") and unit == "bytes"
    assert 40_000 < int(size) < 90_000


def test_a_file_that_cannot_be_timed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    Image.new("RGB", (30, 20)).save(broken)
    broken.write_bytes(broken.read_bytes()[:40])
    for path in (broken, tmp_path / "missing.png", tmp_path):
        with raises(BenchError, path, "image"):
            describe_image(path)
