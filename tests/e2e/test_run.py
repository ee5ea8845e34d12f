"""`edgedistill run` from recipe to report, and every way of stopping it."""

from __future__ import annotations

import csv
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file

from edgedistill.recipe import load_recipe

MakeRecipe = Callable[..., Path]
FILES = {
    "recipe.toml",
    "history.csv",
    "checkpoint.pt",
    "student.safetensors",
    "openset.json",
    "metrics.json",
    "environment.json",
    "report.html",
}


@pytest.fixture(scope="module")
def finished(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, Path]:
    """A finished run: its folder, what the command said, and its recipe."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.toml"
    path.write_text(tomli_w.dumps(tree_of()))
    env = {"EDGEDISTILL_CACHE": str(folder / "cache")}
    result = cli("run", path, "--runs", folder / "runs", env=env)
    return folder / "runs" / "tiny-sea-s0", result, path


def visible(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_run_leaves_every_file(finished: tuple[Path, Any, Path]) -> None:
    folder, result, path = finished
    assert result.status == 0, result.err
    found = visible(folder)
    assert found >= FILES
    assert {name for name in found if name.endswith(".png")}
    assert found - FILES <= {name for name in found if name.endswith(".png")}
    assert load_recipe(folder / "recipe.toml") == load_recipe(path)
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6"]
    openset = json.loads((folder / "openset.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert openset["threshold"] == metrics["openset"]["threshold"]
    assert openset["score"] == metrics["openset"]["score"] == "max_logit"
    torch.load(folder / "checkpoint.pt", weights_only=True)
    assert {"text.names", "text.pooled"} < set(load_file(folder / "student.safetensors"))
    assert json.loads((folder / "environment.json").read_text())["device"] == "cpu"
    assert "<html" in (folder / "report.html").read_text()


def test_metrics_have_the_keys_others_rely_on(finished: tuple[Path, Any, Path]) -> None:
    metrics = json.loads((finished[0] / "metrics.json").read_text())
    target = metrics["target"]
    assert target["domain"] == "sea"
    for key in (
        "accuracy",
        "h_score",
        "oracle_h_score",
        "auroc",
        "fpr95",
        "oscr",
        "known_acceptance",
        "unknown_rejection",
    ):
        assert 0 <= target[key] <= 1, key
    # The target's images: 4 known classes and the unknown one, 12 images each.
    assert (target["images_known"], target["images_unknown"]) == (48, 12)
    assert 0 <= metrics["source_val"]["accuracy"] <= 1
    assert 0 <= metrics["teacher"]["target_accuracy"] <= 1
    assert metrics["seconds"] > metrics["training_seconds"] > 0


def test_the_result_is_on_stdout_and_progress_on_stderr(
    finished: tuple[Path, Any, Path],
) -> None:
    folder, result, _ = finished
    assert "Unseen domain sea" in result.out and str(folder / "report.html") in result.out
    assert "Unseen" not in result.err
    # No library says anything, and a stage takes at most eleven lines of a log.
    assert "arning" not in result.err, result.err
    for stage in ("teacher views", "training"):
        lines = [line for line in result.err.splitlines() if line.startswith(f"{stage} ")]
        assert 1 <= len(lines) <= 11, result.err
    assert "\x1b" not in result.err + result.out


def test_again_it_says_finished(cli: Any, finished: tuple[Path, Any, Path]) -> None:
    folder, _, path = finished
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    result = cli("run", path, "--runs", folder.parent)
    assert result.status == 0
    assert "already finished" in result.out and str(folder / "report.html") in result.out
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_another_recipe_under_the_same_name_is_refused(
    cli: Any, finished: tuple[Path, Any, Path]
) -> None:
    folder, _, path = finished
    result = cli("run", path, "--set", "train.lr=0.5", "--runs", folder.parent)
    assert result.status == 2
    assert "train.lr: 0.02, 0.5" in result.error and "--name" in result.error


def test_quiet_leaves_only_the_result(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    result = cli("run", finished[2], "--runs", tmp_path, "--quiet", "--name", "x", "--seed", "3")
    assert result.status == 0
    assert result.err == "" and "Unseen domain" in result.out
    assert load_recipe(tmp_path / "x" / "recipe.toml").seed == 3


@pytest.mark.parametrize("method", ["erm", "kd", "clipbase", "scmd"])
def test_every_method_runs(cli: Any, recipe: MakeRecipe, tmp_path: Path, method: str) -> None:
    sections: dict[str, Any] = {"method": {"name": method}, "train": {"steps": 2}}
    if method == "scmd":
        sections |= {"openset": {"score": "max_cosine"}, "views": {"count": 0}}
    result = cli("run", recipe(**sections), "--runs", tmp_path, "--name", "x")
    assert result.status == 0, result.err
    metrics = json.loads((tmp_path / "x" / "metrics.json").read_text())
    assert metrics["method"] == method


def test_faithful_runs(cli: Any, recipe: MakeRecipe, tmp_path: Path) -> None:
    path = recipe(train={"steps": 2})
    result = cli("run", path, "--set", "faithful=true", "--runs", tmp_path, "--name", "x")
    assert result.status == 0, result.err


def test_a_method_without_teacher_runs_without_one(
    cli: Any, recipe: MakeRecipe, tmp_path: Path
) -> None:
    path = recipe(method={"name": "erm"}, teacher={"model": "local-dir:nowhere"})
    result = cli("run", path, "--set", "train.steps=1", "--runs", tmp_path, "--name", "x")
    assert result.status == 0, result.err
    assert "warning: no teacher to compare with" in result.err
    assert json.loads((tmp_path / "x" / "metrics.json").read_text())["teacher"] is None


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(3, 0), *(pytest.param(40, seed, marks=pytest.mark.slow) for seed in range(1, 9))],
)
def test_killed_anywhere_and_resumed_ends_with_the_same_bytes(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path, kills: int, seed: int
) -> None:
    folder, _, path = finished
    # A cache of its own, so that its building is killed too.
    env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
    args = ["run", path, "--runs", tmp_path / "runs", "--name", "x"]
    run = tmp_path / "runs" / "x"
    moments = random.Random(seed)
    for _ in range(kills):
        running = cli.start(*args, env=env)
        time.sleep(moments.uniform(0.05, 1.5 if seed == 0 else 0.9))
        running.kill(signal.SIGKILL)
        result = running.wait()
        assert result.status in (-signal.SIGKILL, 0), result.err
        if (run / "metrics.json").exists():
            assert visible(run) >= FILES
            break
    if not (run / "metrics.json").exists():
        result = cli(*args, env=env)
        assert result.status == 0, result.err
    ours, whole = ((f / "student.safetensors").read_bytes() for f in (run, folder))
    assert ours == whole
    assert (run / "history.csv").read_bytes() == (folder / "history.csv").read_bytes()
    assert not [p for p in run.iterdir() if ".tmp" in p.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_training(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path, number: int
) -> None:
    args = ["run", finished[2], "--runs", tmp_path, "--name", "x", "--set", "train.steps=400"]
    running = cli.start(*args)
    running.wait_for((tmp_path / "x" / "checkpoint.pt").exists)
    running.kill(number)
    result = running.wait()
    assert result.status == 130
    assert "stopped at step" in result.error and "goes on from there" in result.error
    saved = torch.load(tmp_path / "x" / "checkpoint.pt", weights_only=True)
    assert f"step {saved['step']} of 400" in result.error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["decode", "views", "evaluate"])
def test_interrupted_in_another_stage(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path, number: int, stage: str
) -> None:
    folder, _, path = finished
    cache, run = tmp_path / "cache", tmp_path / "x"
    env = {"EDGEDISTILL_CACHE": str(cache)}
    args = ["run", path, "--runs", tmp_path, "--name", "x"]
    moments = {
        "decode": lambda: (cache / "store").is_dir(),
        "views": lambda: bool(list(cache.glob("views/*/header.json"))),
        "evaluate": (run / "student.safetensors").exists,
    }
    running = cli.start(*args, env=env)
    running.wait_for(moments[stage])
    running.kill(number)
    result = running.wait()
    assert result.status == 130, result.err
    assert "goes on from there" in result.error
    assert not (run / "metrics.json").exists()
    assert not list(cache.glob("store/.*.tmp-*"))
    assert not [p for p in run.iterdir() if ".tmp" in p.name]
    assert cli(*args, env=env).status == 0
    ours, whole = ((f / "student.safetensors").read_bytes() for f in (run, folder))
    assert ours == whole


def test_two_processes_do_not_share_a_run(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    args = ["run", finished[2], "--runs", tmp_path, "--name", "x", "--set", "train.steps=400"]
    first = cli.start(*args)
    first.wait_for((tmp_path / "x" / "checkpoint.pt").exists)
    second = cli(*args)
    first.kill(signal.SIGTERM)
    assert second.status == 2
    assert "another process is at work on this run" in second.error
    assert first.wait().status == 130
