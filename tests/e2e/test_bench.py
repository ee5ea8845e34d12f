"""`edgedistill bench`: three small files measured once with everything, and what it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from edgedistill.bench.result import QUALITY_METRICS, SCHEMA, Result
from edgedistill.runtime.contract import seal

# Red images that score about 11.8, 9.4 and 7.1, and dark ones below 1.5.
BRIGHTNESS = {"red": (250, 200, 150), "soot": (10, 20, 25)}


@dataclass(frozen=True)
class Benched:
    """The one full run: what it said, what it wrote, and what it was given."""

    command: Any
    measured: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def files(proto: Callable[..., onnx.ModelProto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """easy.onnx, strict.onnx and stricter.onnx, which differ in their threshold, and images."""
    folder = tmp_path_factory.mktemp("bench")
    for name, threshold in (("easy", 1.5), ("strict", 8.0), ("stricter", 10.0)):
        data = seal(proto(threshold=threshold).SerializeToString())
        (folder / f"{name}.onnx").write_bytes(data)
    os.mkfifo(folder / "pipe")
    (folder / "taken" / "result.json").mkdir(parents=True)
    (folder / "known" / "red").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(folder / "known" / "red" / "0.png")
    (folder / "linked.png").symlink_to(Path("images") / "red" / "250.png")
    (folder / "unreadable" / "red").mkdir(parents=True)
    (folder / "unreadable" / "red" / "broken.png").write_bytes(b"no image")
    (folder / "unreadable" / "soot").mkdir()
    Image.new("RGB", (20, 10)).save(folder / "unreadable" / "soot" / "0.png")
    for name, values in BRIGHTNESS.items():
        (folder / "images" / name).mkdir(parents=True)
        for value in values:
            image = Image.new("RGB", (20, 10), (value, 0, 0))
            image.save(folder / "images" / name / f"{value}.png")
    (folder / "images" / "red" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def benched(cli: Any, files: Path) -> Benched:
    result = cli(
        *("bench", "easy.onnx", "strict.onnx", "--baseline", "stricter.onnx"),
        *("--data", "images", "--image", "images/red/250.png"),
        *("--rounds", "6", "--threads", "1", "--batch", "1,2"),
        *("--json", "out.json", "--markdown", "out.md", "--plot", "out.png", "--report", "report"),
        *("--require", "known_acceptance>=0.9", "--require", "macs<=1000"),
        cwd=files,
    )
    return Benched(result, json.loads((files / "out.json").read_text()), files)


def test_a_requirement_that_does_not_hold_is_a_line_and_status_1(benched: Benched) -> None:
    assert benched.command.status == 1, benched.command.err
    lines = [line for line in benched.command.err.splitlines() if line.startswith("edgedistill: ")]
    # The baseline is no candidate, and every other requirement holds.
    assert len(lines) == 1 and "strict.onnx: known_acceptance>=0.9" in lines[0]
    assert "0.6667" in lines[0] and "Traceback" not in benched.command.err


def test_a_real_result_is_of_the_schema(
    benched: Benched, mismatches: Callable[[Any, Any], list[str]]
) -> None:
    assert mismatches(benched.measured, Result) == []


def test_files_are_identified_and_counted(benched: Benched) -> None:
    result = benched.measured
    assert result["schema"] == SCHEMA and result["baseline"] == "stricter.onnx"
    names = [model["name"] for model in result["models"]]
    assert names == ["stricter.onnx", "easy.onnx", "strict.onnx"]
    for model in result["models"]:
        data = (benched.folder / model["path"]).read_bytes()
        assert model["sha256"] == hashlib.sha256(data).hexdigest()
        assert (model["bytes"], model["parameters"], model["macs"]) == (len(data), 9, 9)
        assert model["contract"]["classes"] == ["red", "green", "blue"]
        assert model["providers"] == ["CPUExecutionProvider"]
    assert [model["contract"]["threshold"] for model in result["models"]] == [10.0, 1.5, 8.0]
    assert "20x10 PNG" in result["method"]["image"]


def test_answers_are_judged(benched: Benched) -> None:
    for model, accepted in zip(benched.measured["models"], (1 / 3, 1.0, 2 / 3), strict=True):
        quality = model["quality"]
        assert (quality["known"], quality["unknown"], quality["unreadable"]) == (3, 3, 1)
        assert quality["accuracy"]["value"] == quality["auroc"]["value"] == 1.0
        assert quality["known_acceptance"]["value"] == pytest.approx(accepted)
        assert quality["h_score"]["value"] == pytest.approx(2 * accepted / (1 + accepted))
        assert set(QUALITY_METRICS) <= set(quality)
    easy = benched.measured["comparisons"][0]
    assert easy["model"] == "easy.onnx"
    assert easy["quality"]["known_acceptance"]["value"] == pytest.approx(2 / 3)


def test_times_are_there_for_every_setting(benched: Benched) -> None:
    result = benched.measured
    settings = [(1, 1), (1, 2)]
    for model in result["models"]:
        assert [(row["threads"], row["batch"]) for row in model["latency"]] == settings
        for row in model["latency"]:
            for kind in ("model", "decision"):
                timing = row[kind]
                assert len(timing["rounds_ms"]) == 6 and timing["calls"] >= 60
                assert min(timing["rounds_ms"]) <= timing["p50_ms"] <= max(timing["rounds_ms"])
        assert len(model["cold_start"]["values_s"]) == 5 and model["cold_start"]["median_s"] > 0
    assert [row["model"] for row in result["comparisons"]] == ["easy.onnx", "strict.onnx"]
    for comparison in result["comparisons"]:
        for row in comparison["latency"]:
            for kind in ("model", "decision"):
                assert row[kind]["low"] <= row[kind]["value"] <= row[kind]["high"]
                assert row[kind]["verdict"] in ("faster", "slower", "not ranked")
    assert [(row["threads"], row["batch"]) for row in result["noise"]["settings"]] == settings
    assert result["machine"]["cores"] >= 1 and result["machine"]["onnxruntime"]


def test_everything_asked_for_is_written_and_printed(benched: Benched) -> None:
    folder = benched.folder
    names = ("easy.onnx", "strict.onnx", "stricter.onnx")
    shown = [benched.command.out, (folder / "out.md").read_text()]
    shown.append((folder / "report" / "report.html").read_text())
    for text in shown:
        assert all(name in text for name in names)
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "report" / "result.json").read_text()) == benched.measured
    assert "broken.png" in benched.command.err


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["missing.onnx"], "missing.onnx"),
        (["images/red/250.png"], "images/red/250.png"),
        (["easy.onnx", "--baseline", "images"], "images"),
        (["easy.onnx", "--threads", "0"], "--threads 0"),
        (["easy.onnx", "--batch", "1,x"], "'x'"),
        (["easy.onnx", "--rounds", "3"], "--rounds"),
        (["easy.onnx", "--provider", "TPU"], "TPU"),
        (["easy.onnx", "--image", "missing.png"], "missing.png"),
        (["easy.onnx", "--data", "missing"], "--data: missing"),
        (["easy.onnx", "--require", "speed>=1"], "'speed'"),
        (["easy.onnx", "--require", "h_score>=0.5"], "--data"),
        (["easy.onnx", "--plot", "x.png"], "--data"),
        (["easy.onnx", "--plot", "x.jpg", "--data", "images"], "PNG"),
        (["easy.onnx", "--json", "no/x.json"], "no folder no"),
        (["easy.onnx", "--markdown", "images"], "a folder"),
        (["easy.onnx", "--json", "/proc/x.json"], "--json /proc/x.json"),
        (["easy.onnx", "--json", "l" * 230], os.strerror(errno.ENAMETOOLONG)),
        (["easy.onnx", "--json", "pipe"], "a pipe"),
        (["easy.onnx", "--report", "taken"], "taken/result.json"),
        (["easy.onnx", "--report", "taken", "--json", "taken/new/x"], "no folder taken/new"),
        (["easy.onnx", "--report", "new", "--json", "new/x.json"], "no folder new"),
        (["easy.onnx", "--data", "images", "--json", "linked.png"], "one of the images of --data"),
        (
            ["easy.onnx", "--data", "known", "--require", "h_score>0"],
            "no images of unknown classes",
        ),
        (["easy.onnx", "--report", "easy.onnx"], "a file"),
        (["easy.onnx", "--report", "easy.onnx/new"], "a file"),
        (["easy.onnx", "--json", "images/../easy.onnx"], "is what is measured"),
        (["easy.onnx", "--image", "i.png", "--markdown", "i.png"], "is what is measured"),
        (["easy.onnx", "--json", "x", "--markdown", "./x"], "--json x"),
        (["easy.onnx", "--json", "result.json", "--report", "."], "--json result.json"),
        (["easy.onnx", "--plot", "x.png", "--data", "unreadable"], "no images of known classes"),
        (["easy.onnx", "--threads", "9" * 5000], "from 1 to 1024"),
        (["easy.onnx", "--batch", "٣"], "from 1 to 1024"),
        (["easy.onnx", "--batch", ""], "--batch ''"),
        (["new\nline.onnx"], r"'new\nline.onnx'"),
        (["\x1b[31mred.onnx"], r"'\x1b[31mred.onnx'"),
        ([os.fsdecode(b"b\xff.onnx")], "UTF-8"),
        (["easy.onnx", "--data", os.fsdecode(b"b\xff")], "UTF-8"),
        ([], "MODEL"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_measured(
    cli: Any, files: Path, arguments: list[str], culprit: str
) -> None:
    before = sorted(files.rglob("*"))
    result = cli("bench", *arguments, cwd=files)
    result.assert_refused(culprit)
    assert result.out == "" and "timing" not in result.err and "\x1b" not in result.err
    assert sorted(files.rglob("*")) == before


def test_metadata_that_would_break_a_line_is_refused(cli: Any, write: Callable[..., Path]) -> None:
    model = write(changes={"method": "er\nm"})
    cli("bench", model).assert_refused(model, "metadata")


def test_the_baseline_is_the_file_in_fp32(
    cli: Any, write: Callable[..., Path], files: Path, tmp_path: Path
) -> None:
    int8 = write(changes={"precision": "int8"})
    out = tmp_path / "out.json"
    arguments = ("--image", files / "images/red/250.png", "--rounds", "6", "--json", out)
    result = cli("bench", int8, files / "easy.onnx", *arguments)
    assert result.status == 0, result.err
    assert json.loads(out.read_text())["baseline"] == "easy.onnx"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_cannot_be_printed_is_written(cli: Any, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ("bench", "easy.onnx", "--image", "images/red/250.png", "--rounds", "6")
    result = cli(*arguments, "--json", out, cwd=files, out=Path("/dev/full"))
    result.assert_refused(os.strerror(errno.ENOSPC))
    assert json.loads(out.read_text())["baseline"] == "easy.onnx"


def test_an_interrupted_measurement_is_one_line_and_writes_nothing(
    cli: Any, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    arguments = ("bench", "easy.onnx", "--image", "images/red/250.png", "--json", out)
    # Opened when it is loaded, and then again in every round.
    result = cli.start(*arguments, cwd=files, at=cli.at(signal.SIGINT, "easy.onnx", 3)).wait()
    assert (result.status, result.error) == (130, "interrupted")
    assert "timing" in result.err and not list(tmp_path.iterdir())


def test_the_help_says_what_is_taken_when_nothing_is_given(cli: Any) -> None:
    result = cli("bench", "--help")
    # Broken into lines at the width of a terminal.
    text = " ".join(result.out.split())
    assert result.status == 0
    assert "[default: the first in fp32]" in text and "RECIPE|FOLDER" in text
