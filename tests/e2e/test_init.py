"""From a folder of photos to a model that answers, in two commands and then the file."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageDraw

from edgedistill.recipe import load_recipe

# No network: what is written must not depend on whether ImageNet's weights can be fetched.
NOWHERE = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with photos/cat and photos/dog: discs with ears on top, and at their sides."""
    random = Random(0)
    for name in ("cat", "dog"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(15):
            image = Image.new("RGB", (80, 60), tuple(random.randint(150, 255) for _ in range(3)))
            draw = ImageDraw.Draw(image)
            x, y, r = random.randint(30, 50), random.randint(28, 36), random.randint(10, 16)
            ink = (random.randint(0, 90), random.randint(0, 60), 40)
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)
            for side in (-1, 1):
                ear = (x + side * r, y - r) if name == "cat" else (x + side * (r + 4), y)
                draw.regular_polygon((*ear, 7), 3 if name == "cat" else 30, fill=ink)
            image.save(folder / f"IMG_{number:03d}.jpg")
    return tmp_path


def environment(desk: Path) -> dict[str, str]:
    return {**NOWHERE, "no_proxy": "", "TORCH_HOME": str(desk / "torch")}


def test_a_folder_becomes_a_model_that_answers(cli: Any, desk: Path) -> None:
    env = environment(desk)
    result = cli("init", "photos", cwd=desk, env=env)
    assert result.status == 0, result.err
    assert result.out.splitlines()[-1].split(maxsplit=1) == ["next", "edgedistill run photos.toml"]
    # Where ImageNet's weights cannot be had, it says why and takes what the package has.
    assert "embedded" in result.out and "by hand" in result.out
    assert load_recipe(desk / "photos.toml").student.weights == "embedded"

    fast = ["--set", "train.steps=2", "--set", "train.warmup_steps=0"]
    result = cli("run", "photos.toml", *fast, cwd=desk, env=env)
    assert result.status == 0, result.err
    (run,) = (desk / "runs").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["teacher"] is None and metrics["teacher_check"] is None
    assert metrics["target"]["images_known"] == 6

    result = cli("export", run, cwd=desk, env=env)
    assert result.status == 0, result.err
    result = cli("predict", run / "student.onnx", "photos", "--json", cwd=desk, env=env)
    assert result.status == 0, result.err
    answers = [json.loads(line) for line in result.out.splitlines()]
    assert len(answers) == 30
    assert {answer["nearest"] for answer in answers} <= {"cat", "dog"}


@pytest.mark.slow
def test_what_init_writes_learns(cli: Any, desk: Path) -> None:
    env = environment(desk)
    for command in (["init", "photos"], ["run", "photos.toml"]):
        result = cli(*command, cwd=desk, env=env)
        assert result.status == 0, result.err
    (run,) = (desk / "runs").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["target"]["accuracy"] >= 5 / 6
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_a_recipe_that_is_there_stays(cli: Any, desk: Path) -> None:
    (desk / "photos.toml").write_text("mine")
    result = cli("init", "photos", "--weights", "none", cwd=desk)
    result.assert_refused("photos.toml", "--force")
    assert (desk / "photos.toml").read_text() == "mine"
    result = cli("init", "photos", "--weights", "none", "--force", "--quiet", cwd=desk)
    assert result.status == 0 and result.err == ""
    assert load_recipe(desk / "photos.toml").student.weights == "none"


@pytest.mark.parametrize("data", ["nowhere", "photos/cat/IMG_000.jpg"])
def test_what_is_no_data_is_refused(cli: Any, desk: Path, data: str) -> None:
    cli("init", data, "--weights", "none", cwd=desk).assert_refused(Path(data).name)
    assert not list(desk.glob("*.toml"))


@pytest.mark.skipif(os.name == "nt", reason="names are bytes there as well")
def test_a_name_that_a_recipe_cannot_hold_is_refused(cli: Any, desk: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (desk / "photos").rename(desk / name)
    result = cli("init", name, "--weights", "none", cwd=desk)
    result.assert_refused("UTF-8")
