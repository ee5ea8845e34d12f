"""`edgedistill bench` with only what a device has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[bytes]"]
# Of what the extra `bench` brings.
EXTRA = (
    "filelock",
    "jinja2",
    "matplotlib",
    "platformdirs",
    "scipy",
    "sklearn",
    "tomli_w",
)


def test_times_need_nothing_but_the_runtime(
    on_device: Start, model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    image = photos / "red.png"
    process = on_device(
        "-m", "edgedistill", "bench", model, "--image", image, "--rounds", "6", "--json", out
    )
    shown, err = process.communicate()
    assert process.returncode == 0, err.decode()
    (entry,) = json.loads(out.read_text())["models"]
    assert entry["quality"] is None and entry["parameters"] == 9
    assert model.name in shown.decode()


@pytest.mark.parametrize(("required", "status"), [("size_mb<1", 0), ("size_mb<0", 1)])
def test_a_reader_that_leaves_costs_neither_the_files_nor_the_status(
    on_device: Start, model: Path, photos: Path, tmp_path: Path, required: str, status: int
) -> None:
    out = tmp_path / "out.json"
    measured = ("bench", model, "--image", photos / "red.png", "--rounds", "6", "--quiet")
    process = on_device("-m", "edgedistill", *measured, "--json", out, "--require", required)
    assert process.stdout and process.stderr
    process.stdout.close()
    err = process.stderr.read().decode().splitlines()
    process.stderr.close()
    assert (process.wait(), len(err)) == (status, status)
    assert json.loads(out.read_text())["baseline"] == model.name


@pytest.mark.parametrize("option", ["--data", "--report"])
def test_what_needs_more_says_which_extra(
    option: str, on_device: Start, model: Path, photos: Path
) -> None:
    process = on_device("-m", "edgedistill", "bench", model, option, photos.parent, missing=EXTRA)
    _, err = process.communicate()
    assert process.returncode == 2, err.decode()
    (line,) = err.decode().splitlines()
    assert line.endswith(f'; {option} needs: pip install "edgedistill[bench]"')
