"""`edgedistill export --classes`: a run with other classes than those it was trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from networks import FEW_NODES

from edgedistill.runtime.contract import PREFIX, read_model
from edgedistill.runtime.protobuf import scan

TINY = {
    "student": FEW_NODES,
    "method": {"name": "scipd"},
    "openset": {"score": "max_cosine"},
    "train": {"steps": 2, "batch_per_domain": 4, "lr": 1e-3, "eval_every": 2},
}
# Two that the run was trained on, one that it calls unknown, one that nobody drew.
CLASSES = """\
templates = ["a drawing of a {}", "a {}"]

[classes]
star = ["star", "hexagram"]
circle = "ring"
cross = ["cross"]
"""


@pytest.fixture(scope="module")
def runs(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the finished run `tiny` and the file three.toml."""
    folder = tmp_path_factory.mktemp("promptable")
    (folder / "three.toml").write_text(CLASSES)
    recipe = folder / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of(**TINY)))
    result = cli("run", recipe, "--runs", folder, "--name", "tiny")
    assert result.status == 0, result.err
    return folder


def export(cli: Any, runs: Path, *arguments: str | Path) -> Any:
    return cli("export", "tiny", "--onnx", "--runs", runs, *arguments)


def metadata(path: Path) -> dict[str, str]:
    entries = scan(path.read_bytes()).metadata
    return {key.removeprefix(PREFIX): text for key, (text, _) in entries.items()}


def test_without_images_the_threshold_is_carried_over_and_says_so(
    cli: Any, runs: Path, shapes: Path
) -> None:
    result = export(cli, runs, "--classes", runs / "three.toml")
    assert result.status == 0, result.err
    assert "carried over" in result.out and "--calibrate" in result.err
    path = runs / "tiny" / "prompted-three.onnx"
    info = read_model(path)[1]
    openset = json.loads((runs / "tiny" / "openset.json").read_text())
    assert info.classes == ("star", "circle", "cross")
    assert info.score == "max_cosine"
    assert info.threshold == pytest.approx(openset["threshold"], rel=1e-6)
    assert "not calibrated" in info.calibration
    assert info.metrics == {"source_val": None, "target": None, "calibration": None}
    texts = metadata(path)
    assert texts["threshold_source"] == "carried over"
    prompts = json.loads(texts["prompts"])
    assert prompts["names"]["circle"] == ["ring"]
    assert prompts["templates"] == ["a drawing of a {}", "a {}"]
    answers = cli("predict", path, shapes / "sea" / "star", "--json")
    assert answers.status == 0, answers.err
    lines = [json.loads(line) for line in answers.out.splitlines()]
    assert len(lines) == 12
    assert all(list(line["probabilities"]) == list(info.classes) for line in lines)


@pytest.mark.slow
def test_images_of_the_classes_calibrate_and_measure(cli: Any, runs: Path, shapes: Path) -> None:
    """`domain/class/*` and `class/*`; what is called otherwise is unknown."""
    for images, known, unknown in ((shapes, 144, 96), (shapes / "sea", 36, 24)):
        path = runs / "calibrated.onnx"
        result = export(
            cli, runs, *("--classes", runs / "three.toml", "--calibrate", images, "-o", path)
        )
        assert result.status == 0, result.err
        assert "square" in result.err and f"of {known} images" in result.out
        info = read_model(path)[1]
        assert info.calibration_images == known
        rates = info.metrics["calibration"]
        assert (rates["images_known"], rates["images_unknown"]) == (known, unknown)
        assert 0.9 < rates["known_acceptance"] <= 1
        assert metadata(path)["threshold_source"] == "calibrated"


@pytest.mark.slow
def test_int8_is_judged_on_the_images_given(cli: Any, runs: Path, shapes: Path) -> None:
    given = ("--classes", runs / "three.toml", "--int8", "--max-drop", "100")
    export(cli, runs, *given).assert_refused("int8", "--calibrate")
    result = export(cli, runs, *given, "--calibrate", shapes, "--size", "48")
    assert result.status == 0, result.err
    assert "images of --calibrate" in result.out and "verdict" in result.out
    info = read_model(runs / "tiny" / "prompted-three-int8.onnx")[1]
    assert (info.size, info.precision, info.calibration_images) == (48, "int8", 144)
    assert info.metrics["calibration"]["images_unknown"] == 96


def test_few_images_and_classes_without_any_are_told(
    cli: Any, runs: Path, shapes: Path, tmp_path: Path
) -> None:
    shutil.copytree(shapes / "sea" / "star", tmp_path / "star")
    result = export(cli, runs, "--classes", runs / "three.toml", "--calibrate", tmp_path)
    assert result.status == 0, result.err
    assert "12 images" in result.err and "19 or more" in result.err
    assert "'circle'" in result.err


def test_what_cannot_be_is_one_line(cli: Any, runs: Path, shapes: Path, tmp_path: Path) -> None:
    classes = runs / "three.toml"
    absent = tmp_path / "absent.toml"
    export(cli, runs, "--calibrate", shapes).assert_refused("--calibrate", "--classes")
    export(cli, runs, "--classes", absent).assert_refused(absent, "[classes]")
    export(cli, runs, "--classes", classes, "--calibrate", absent).assert_refused(absent)
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", shapes / "sea" / "star", shapes / "sea" / "square"):
        export(cli, runs, "--classes", classes, "--calibrate", folder).assert_refused(folder)
    twins = tmp_path / "twins.toml"
    twins.write_text('[classes]\na = ["ring"]\nb = ["ring"]\n')
    export(cli, runs, "--classes", twins).assert_refused("'a'", "'b'", "[classes]")
    assert not list((runs / "tiny").glob("prompted-twins*"))


def test_another_teacher_than_the_runs_is_refused(cli: Any, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "tiny", tmp_path / "tiny")
    file = tmp_path / "tiny" / "environment.json"
    environment = json.loads(file.read_text())
    environment["identity"]["teacher"] = "0" * 32
    file.write_text(json.dumps(environment))
    export(cli, tmp_path, "--classes", runs / "three.toml").assert_refused("teacher", "0" * 32)
    file.unlink()
    export(cli, tmp_path, "--classes", runs / "three.toml").assert_refused(file)
