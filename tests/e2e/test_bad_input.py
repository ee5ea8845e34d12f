"""Whatever is wrong with the input: exit status 2 and one line that says what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiff_files import torn_tiff

MakeRecipe = Callable[..., Path]


@pytest.mark.parametrize(
    ("sets", "culprits"),
    [
        (["trian.lr=1"], ["trian", "'train'"]),
        (["train.lrr=1"], ["train.lrr", "'lr'"]),
        (["train.lr=fast"], ["train.lr", "number", "'fast'"]),
        (["train.lr"], ["--set train.lr", "section.key=value"]),
        (["method.name=sipd"], ["method.name", "'scipd'"]),
        (["student.model=resnet19"], ["student.model", "'resnet18'"]),
        (["data.target=see"], ["target domain 'see'", "'sea'"]),
        (['data.unknown=["stra"]'], ["unknown class 'stra'", "'star'"]),
        (['data.known=["circle", "crss"]'], ["known class 'crss'", "'cross'"]),
        (["data.dataset=no/such/folder"], ["no/such/folder"]),
        (["teacher.model=ViT-B-61"], ["ViT-B-61", "'ViT-B-16'"]),
        (["teacher.model=ViT-B-16"], ["ViT-B-16", "weights"]),
        (["teacher.model=ViT-B-16", "teacher.pretrained=no.pt"], ["no.pt"]),
        (["teacher.model=local-dir:nowhere"], ["nowhere", "open_clip_config.json"]),
        (["teacher.model=hf-hub:no-such-org/model"], ["no-such-org/model"]),
        (["student.weights=no.safetensors"], ["'no.safetensors'"]),
        (['method={name = "erm"}', "openset.score=max_cosine"], ["max_cosine"]),
        (["device=cuda:77"], ["device", "'cuda:77'"]),
        (["device=tpu9"], ["device", "'tpu9'"]),
        (['prompts.names={"circel"=["o"]}'], ["'circel'", "'circle'"]),
        (["train.lr=1e30"], ["step", "train.lr"]),
        (["train.average=sma", "train.sma_start=7"], ["sma_start", 7, "6 steps"]),
        (["data.target=sea\nseed=3"], ["data.target", "lines"]),
        (["train.lr=0.1\nw=3"], ["2 values"]),
    ],
)
def test_a_bad_value(
    cli: Any, recipe: MakeRecipe, tmp_path: Path, sets: list[str], culprits: list[str | int]
) -> None:
    options = [part for value in sets for part in ("--set", value)]
    result = cli("run", recipe(), "--runs", tmp_path / "runs", *options)
    result.assert_refused(*culprits)
    assert result.out == ""


def test_a_missing_recipe(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe()
    result = cli("run", tmp_path / "tny.toml")
    result.assert_refused(tmp_path / "tny.toml", tmp_path / "tiny.toml")


@pytest.mark.parametrize(
    ("args", "culprit"),
    [
        (["run"], "RECIPE"),
        (["run", "x.toml", "--sed", "3"], "--sed"),
        (["run", "x.toml", "--seed", "-3"], "--seed"),
        (["run", "x.toml", "--seed", "a"], "--seed"),
        (["rnu"], "rnu"),
        (["teacher", "evl"], "evl"),
        (["data", "info", "nowhere"], "nowhere"),
    ],
)
def test_wrong_usage(cli: Any, args: list[str], culprit: str) -> None:
    cli(*args).assert_refused(culprit)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/x"])
def test_a_name_that_is_a_path(cli: Any, recipe: MakeRecipe, name: str) -> None:
    result = cli("run", recipe(), "--name", name)
    result.assert_refused("--name", name)


def test_an_empty_folder(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = cli("run", recipe(data={"dataset": str(tmp_path / "empty")}), "--runs", tmp_path)
    result.assert_refused(tmp_path / "empty")


def test_classes_that_differ_in_case_only(
    cli: Any, recipe: MakeRecipe, tmp_path: Path, shapes: Path
) -> None:
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "paint" / "circle").rename(root / "paint" / "Circle")
    result = cli("run", recipe(data={"dataset": str(root)}), "--runs", tmp_path)
    (similar,) = [line for line in result.err.splitlines() if "differ only in" in line]
    assert "'Circle'" in similar and "'circle'" in similar
    # Their texts are the same to the teacher.
    assert result.status == 2


def test_a_class_whose_files_are_all_damaged(
    cli: Any, recipe: MakeRecipe, tmp_path: Path, shapes: Path
) -> None:
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    for file in (root / "paint" / "circle").iterdir():
        file.write_bytes(b"not a picture")
    (root / "paint" / "circle" / "day1").mkdir()
    (root / "paint" / "circle" / "day1" / "deeper.png").touch()
    (root / "paint" / "Circle").mkdir()
    (root / "paint" / "Square").mkdir()
    (root / "paint" / "circle" / "torn.tiff").write_bytes(torn_tiff())
    result = cli("run", recipe(data={"dataset": str(root)}), "--runs", tmp_path / "runs")
    # The class is still in other domains; the damaged files are counted and skipped.
    assert result.status == 0, result.err
    assert "image files need attention: paint/circle/" in result.err
    # What libtiff says by itself.
    assert "not yet in table" not in result.err
    (omitted,) = [line for line in result.err.splitlines() if "left out" in line]
    assert "1 (paint/circle/day1/deeper.png)" in omitted
    assert "2 (paint/Circle, paint/Square)" in omitted
    for domain in root.iterdir():
        for file in (domain / "circle").glob("*.png"):
            file.write_bytes(b"")
    result = cli("run", recipe(data={"dataset": str(root)}), "--runs", tmp_path, "--name", "y")
    result.assert_refused("class 'circle'", root)


def test_one_large_damaged_png_is_no_traceback(
    cli: Any, recipe: MakeRecipe, tmp_path: Path, shapes: Path
) -> None:
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    file = root / "paint" / "circle" / "00.png"
    Image.new("RGB", (64, 64)).save(file)
    file.write_bytes(file.read_bytes()[:-30])
    (root / "paint" / "circle" / "notes.txt").write_text("hello")
    path = recipe(data={"dataset": str(root)}, train={"steps": 1})
    result = cli("run", path, "--runs", tmp_path / "runs")
    assert result.status == 0 and "Traceback" not in result.err and "Warning" not in result.err


class TestDisks:
    def test_a_runs_folder_that_is_a_file(
        self, cli: Any, recipe: MakeRecipe, tmp_path: Path
    ) -> None:
        (tmp_path / "runs").write_text("")
        result = cli("run", recipe(), "--runs", tmp_path / "runs")
        result.assert_refused(tmp_path / "runs")

    def test_a_folder_that_is_not_a_run(self, cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "thesis.tex").write_text("")
        result = cli("run", recipe(), "--runs", tmp_path, "--name", "x")
        result.assert_refused(tmp_path / "x", "run")

    def test_a_cache_that_cannot_be_made(
        self, cli: Any, recipe: MakeRecipe, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        env = {"EDGEDISTILL_CACHE": str(tmp_path / "file" / "cache")}
        result = cli("run", recipe(), "--runs", tmp_path, env=env)
        result.assert_refused(tmp_path / "file", "EDGEDISTILL_CACHE")

    # Bytes a file may have, views of each image, and what does not fit then.
    @pytest.mark.parametrize(
        ("limit", "count", "where"),
        [
            (400, 2, "recipe.toml"),
            pytest.param(12_000, 2, "/store/", marks=pytest.mark.slow),
            (300_000, 48, "/views/"),
            pytest.param(300_000, 2, "checkpoint.pt", marks=pytest.mark.slow),
        ],
    )
    def test_a_full_disk_and_then_room_again(
        self, cli: Any, recipe: MakeRecipe, tmp_path: Path, limit: int, count: int, where: str
    ) -> None:
        env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
        path = recipe(views={"count": count}, train={"steps": 2})
        args = ["run", path, "--runs", tmp_path, "--name", "x"]
        result = cli(*args, env=env, max_file=limit)
        result.assert_refused(os.strerror(errno.EFBIG))
        assert where in result.error
        again = cli(*args, env=env)
        assert again.status == 0, again.err

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_result_that_cannot_be_printed(
        self, cli: Any, recipe: MakeRecipe, tmp_path: Path
    ) -> None:
        path = recipe(train={"steps": 1})
        args = ["run", path, "--runs", tmp_path, "--name", "x"]
        result = cli(*args, out=Path("/dev/full"))
        result.assert_refused(os.strerror(errno.ENOSPC))
        # The run itself is safe.
        assert "already finished" in cli(*args).out


def test_a_damaged_run_recipe(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "recipe.toml").write_text("data = [")
    result = cli("run", recipe(), "--runs", tmp_path, "--name", "x")
    result.assert_refused(tmp_path / "x" / "recipe.toml")


def test_a_damaged_checkpoint(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    path = recipe(train={"steps": 1})
    args = ["run", path, "--runs", tmp_path, "--name", "x"]
    assert cli(*args).status == 0
    (tmp_path / "x" / "metrics.json").unlink()
    (tmp_path / "x" / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    result = cli(*args)
    result.assert_refused(tmp_path / "x" / "checkpoint.pt", "damaged")


def test_a_truncated_view_cache(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
    path = recipe(train={"steps": 1})
    assert cli("run", path, "--runs", tmp_path, "--name", "x", env=env).status == 0
    (file,) = (tmp_path / "cache").glob("views/*/embeddings.f16")
    file.write_bytes(file.read_bytes()[:-1])
    result = cli("run", path, "--runs", tmp_path, "--name", "y", env=env)
    result.assert_refused(file, "edgedistill cache clear")


Without = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def without(without_packages: Callable[..., subprocess.Popen[bytes]]) -> Without:
    """The command line in a Python that has no such packages."""

    def call(missing: tuple[str, ...], *args: str) -> subprocess.CompletedProcess[str]:
        process = without_packages("-m", "edgedistill", *args, missing=missing)
        out, err = process.communicate()
        return subprocess.CompletedProcess(args, process.returncode, out.decode(), err.decode())

    return call


TRAIN = ("torch", "torchvision", "open_clip", "timm", "safetensors", "sklearn", "scipy")


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["--version"], ["compare", "-h"]])
def test_help_needs_no_training_extra(without: Without, args: list[str]) -> None:
    result = without(TRAIN, *args)
    assert "Traceback" not in result.stderr
    if args != ["compare", "-h"]:
        assert result.returncode == 0 and result.stdout


def test_compare_needs_no_training_extra(without: Without, tmp_path: Path) -> None:
    metrics = {
        "method": "kd",
        "student": "resnet18",
        "seconds": 75.0,
        "target": {"domain": "sea", "accuracy": 0.5, "h_score": None},
        "openset": {"score": "energy"},
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metrics.json").write_text(json.dumps(metrics))
    result = without(TRAIN, "compare", "a", "--runs", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "50.0" in result.stdout and "1 min 15 s" in result.stdout


@pytest.mark.parametrize("command", [["run"], ["teacher", "eval"]])
def test_without_the_training_extra_the_hint_is_one_line(
    without: Without, recipe: MakeRecipe, command: list[str]
) -> None:
    result = without(("torch",), *command, str(recipe()))
    assert result.returncode == 2
    assert result.stderr.startswith("edgedistill: torch is not installed; ")
    assert result.stderr.endswith(' needs: pip install "edgedistill[train]"\n')
    assert result.stderr.count("\n") == 1
