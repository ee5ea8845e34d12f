"""`edgedistill export`: a finished run to a checked ONNX file, or one line that says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tomli_w

from edgedistill.export.images import ExportImages
from edgedistill.export.session import open_session, run_model
from edgedistill.runs.finished import load_finished
from edgedistill.runs.folder import RunFolder
from edgedistill.runtime.contract import ModelInfo, read_model

TINY = {
    "student": {"model": "resnet18", "weights": "none", "size": 32},
    # Of all methods and scores the pair that needs most of the run: its class texts.
    "method": {"name": "scmd"},
    "openset": {"score": "max_cosine"},
    "train": {"steps": 4, "batch_per_domain": 4, "lr": 1e-3, "eval_every": 4},
}


@pytest.fixture(scope="module")
def runs(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with one finished run, `tiny`."""
    folder = tmp_path_factory.mktemp("export")
    recipe = folder / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of(**TINY)))
    result = cli("run", recipe, "--runs", folder / "runs", "--name", "tiny")
    assert result.status == 0, result.err
    return folder / "runs"


@pytest.fixture(scope="module")
def exported(cli: Any, runs: Path) -> Any:
    """What exporting the newest finished run said."""
    result = cli("export", "--onnx", "--runs", runs)
    assert result.status == 0, result.err
    return result


def test_the_newest_run_becomes_a_file_and_a_table(exported: Any, runs: Path) -> None:
    path = runs / "tiny" / "student.onnx"
    assert path.is_file() and str(path) in exported.out
    wanted = (
        "max |Δprobability|",
        "same label",
        "opset 18",
        "MB",
        "source-validation",
        "max_cosine",
    )
    for item in wanted:
        assert item in exported.out, exported.out
    assert "max |Δ" not in exported.err and "arning" not in exported.err, exported.err
    assert not [p for p in path.parent.iterdir() if ".tmp" in p.name]


def test_the_file_says_what_the_run_says(exported: Any, runs: Path) -> None:
    info: ModelInfo = read_model(runs / "tiny" / "student.onnx")[1]
    openset = json.loads((runs / "tiny" / "openset.json").read_text())
    metrics = json.loads((runs / "tiny" / "metrics.json").read_text())
    assert info.classes == ("circle", "cross", "square", "tall_bar")
    assert (info.size, info.precision, info.score) == (32, "fp32", "max_cosine")
    assert (info.student, info.method) == ("resnet18", "scmd")
    lowest = float(np.finfo(np.float32).min)
    wanted = lowest if openset["threshold"] is None else openset["threshold"]
    assert info.threshold == pytest.approx(wanted, rel=1e-6)
    assert info.calibration_images == openset["images"]
    assert info.metrics["target"]["accuracy"] == metrics["target"]["accuracy"]
    assert info.metrics["source_val"] == metrics["source_val"]


def test_the_file_keeps_the_share_of_source_validation_that_it_states(
    exported: Any, runs: Path
) -> None:
    data, info = read_model(runs / "tiny" / "student.onnx")
    validation = ExportImages(load_finished(RunFolder(runs / "tiny")), info.size).validation()
    stated = info.metrics["source_val"]["known_acceptance"]
    for batch in (1, 64):
        label = run_model(open_session(data), validation.images, batch=batch).label
        assert (label >= 0).mean() == stated


def test_exported_twice_it_is_the_same_file(
    cli: Any, exported: Any, runs: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.onnx"
    result = cli("export", "tiny", "--onnx", "--runs", runs, "-o", again, "--json", "--quiet")
    assert result.status == 0 and result.err == ""
    assert again.read_bytes() == (runs / "tiny" / "student.onnx").read_bytes()
    report = json.loads(result.out)
    assert report["file"] == str(again) and report["bytes"] == again.stat().st_size
    assert report["verified"]["probability"] <= 1e-4
    assert report["verified"]["clear_but_other"] == 0


@pytest.mark.slow
def test_int8_at_another_size(cli: Any, exported: Any, runs: Path) -> None:
    result = cli(
        *("export", runs / "tiny", "--onnx", "--int8", "--max-drop", "100", "--size", "48")
    )
    assert result.status == 0, result.err
    for item in ("accuracy", "known keep rate", "H-score", "source images of unknown", "verdict"):
        assert item in result.out, result.out
    path = runs / "tiny" / "student-int8.onnx"
    data, info = read_model(path)
    assert (info.size, info.precision) == (48, "int8")
    assert len(data) < 0.3 * (runs / "tiny" / "student.onnx").stat().st_size
    # 4 known classes of 12 images in 3 source domains, and what the split keeps for validation.
    assert info.metrics["source_val"]["images_known"] == info.calibration_images
    assert info.metrics["target"]["images_known"] == 48
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    image = np.zeros((2, 48, 48, 3), np.uint8)
    label, score, probabilities = session.run(None, {"image": image})
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    known = np.where(score >= np.float32(info.threshold), probabilities.argmax(axis=1), -1)
    assert (label == known).all()


@pytest.mark.slow
def test_too_few_calibration_images_are_named_by_run_report_and_export(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe = tmp_path / "few.toml"
    few = {**TINY, "openset": {"score": "max_logit", "keep": 0.98}}
    recipe.write_text(tomli_w.dumps(tree_of(**few)))
    runs = tmp_path / "runs"
    ran = cli("run", recipe, "--runs", runs, "--name", "few")
    assert ran.status == 0, ran.err
    exported = cli("export", "few", "--onnx", "--runs", runs)
    assert exported.status == 0, exported.err
    for text in (ran.err, exported.err, (runs / "few" / "report.html").read_text("utf-8")):
        assert "too few" in text and "49" in text and "24 validation images" in text


def test_two_formats_are_refused(cli: Any, runs: Path) -> None:
    result = cli("export", "--onnx", "--format", "other", "--runs", runs)
    result.assert_refused("--onnx", "--format other")


def test_runs_that_cannot_be_exported(cli: Any, runs: Path, tmp_path: Path) -> None:
    def export(*args: str | Path) -> Any:
        return cli("export", "--onnx", "--runs", tmp_path, *args)

    export().assert_refused(tmp_path, "finished run")
    shutil.copytree(runs / "tiny", tmp_path / "half")
    (tmp_path / "half" / "metrics.json").unlink()
    export("half").assert_refused("half", "unfinished")
    export().assert_refused(tmp_path, "finished run")
    shutil.copytree(runs / "tiny", tmp_path / "whole")
    export("hole").assert_refused("hole", "whole")
    export("-o", tmp_path).assert_refused(tmp_path, "a folder")
    export("-o", tmp_path / "absent" / "x.onnx").assert_refused(tmp_path / "absent")
    export("-o", tmp_path / "student.safetensors").assert_refused("student.safetensors", ".onnx")
    export("--size", "16").assert_refused("--size", 32)
    export("--int8", "--max-drop", "-1").assert_refused("--max-drop")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("student.safetensors", lambda data: data[: len(data) // 2]),
        ("metrics.json", lambda data: b"{}"),
        ("metrics.json", lambda data: b"not json"),
        ("openset.json", lambda data: data.replace(b'"score"', b'"core"')),
        ("recipe.toml", lambda data: data.replace(b'"resnet18"', b'"mobilenet_v3_small"')),
        ("recipe.toml", lambda data: data.replace(b'target = "sea"', b'target = "lake"')),
    ],
)
def test_a_damaged_run_is_one_line(
    cli: Any, runs: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(runs / "tiny", tmp_path / "x")
    (tmp_path / "x" / "student.onnx").unlink(missing_ok=True)
    file = tmp_path / "x" / name
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    result = cli("export", "x", "--onnx", "--runs", tmp_path)
    assert result.status == 2 and result.error
    assert not (tmp_path / "x" / "student.onnx").exists()


@pytest.fixture
def own(
    cli: Any, tree_of: Callable[..., dict[str, Any]], shapes: Path, tmp_path: Path
) -> tuple[Path, Path]:
    """Images of its own and a finished run over them."""
    root = Path(shutil.copytree(shapes, tmp_path / "data"))
    recipe = tmp_path / "own.toml"
    recipe.write_text(tomli_w.dumps(tree_of(data={"dataset": str(root)})))
    result = cli("run", recipe, "--runs", tmp_path / "runs", "--name", "own")
    assert result.status == 0, result.err
    return root, tmp_path / "runs" / "own"


def test_images_that_are_no_longer_the_runs_are_refused(cli: Any, own: tuple[Path, Path]) -> None:
    root, run = own
    shutil.copy(root / "night" / "cross" / "00.png", root / "night" / "cross" / "new.png")
    refused = cli("export", run, "--onnx")
    refused.assert_refused(root, run, "1 added", "night/cross/new.png", "--data")
    assert not list(run.glob("*.onnx"))
    (root / "night" / "cross" / "new.png").unlink()
    a, b, aside = root / "night" / "cross", root / "night" / "square", root / "aside"
    a.rename(aside)
    b.rename(a)
    aside.rename(b)
    refused = cli("export", run, "--onnx", "--int8")
    refused.assert_refused(root, run, "with other pixels")
    assert not list(run.glob("*.onnx"))


@pytest.mark.slow
def test_images_that_moved_are_named_with_data(cli: Any, own: tuple[Path, Path]) -> None:
    root, run = own
    moved = root.rename(root.with_name("moved"))
    cli("export", run, "--onnx").assert_refused(root, run, "--data")
    cli("export", run, "--onnx", "--data", root).assert_refused(root)
    result = cli("export", run, "--onnx", "--data", moved)
    assert result.status == 0, result.err
    assert (run / "student.onnx").exists()
