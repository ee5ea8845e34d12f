"""`edgedistill run` from recipe to report, and every way of stopping it."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from culprits import assert_names
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.distributed import TCPStore

from edgedistill.recipe import load_recipe
from edgedistill.students import build_backbone

MakeRecipe = Callable[..., Path]
FILES = {
    "recipe.toml",
    "history.csv",
    "checkpoint.pt",
    "student.safetensors",
    "openset.json",
    "metrics.json",
    "environment.json",
    "images.npy",
    "teacher_check.json",
    "report.html",
}


def visible(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_run_leaves_every_file(finished: tuple[Path, Any, Path]) -> None:
    folder, result, path = finished
    assert result.status == 0, result.err
    names = visible(folder)
    assert names >= FILES
    assert {name for name in names if name.endswith(".png")}
    assert names - FILES <= {name for name in names if name.endswith(".png")}
    assert load_recipe(folder / "recipe.toml") == load_recipe(path)
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6"]
    openset = json.loads((folder / "openset.json").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    assert openset["threshold"] == metrics["openset"]["threshold"]
    assert openset["score"] == metrics["openset"]["score"] == "max_cosine"
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


def test_the_teacher_is_checked_before_training(finished: tuple[Path, Any, Path]) -> None:
    folder, result, _ = finished
    check = json.loads((folder / "teacher_check.json").read_text())
    assert json.loads((folder / "metrics.json").read_text())["teacher_check"] == check
    # Three sources of four known classes and an unknown one; a fifth of the instances validates.
    assert check["chance"] == 0.25 and check["images"] > 0 and check["images_unknown"] > 0
    assert 0 <= check["auroc"] <= 1 and check["probe_images"] > 0
    # Random weights see colours, and their texts say nothing of them.
    assert check["accuracy"] < check["probe_accuracy"]
    lines = result.err.splitlines()
    said = next(n for n, line in enumerate(lines) if f"{100 * check['accuracy']:.1f} %" in line)
    assert said < next(n for n, line in enumerate(lines) if line.startswith("training "))
    warned = any("warning" in line and "erm" in line for line in lines)
    assert warned == (check["verdict"] != "trusted")


def test_the_result_is_on_stdout_and_progress_on_stderr(
    finished: tuple[Path, Any, Path],
) -> None:
    folder, result, _ = finished
    assert "Unseen domain sea" in result.out and str(folder / "report.html") in result.out
    assert "Unseen" not in result.err
    # No library says anything, and a stage takes at most eleven lines of a log.
    warnings = [line for line in result.err.splitlines() if "arning" in line]
    assert all("teacher" in line and 'method.name = "erm"' in line for line in warnings), result.err
    for stage in ("teacher check, source validation", "teacher views", "training"):
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


def test_a_finished_run_is_answered_without_torch(
    finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    folder, _, path = finished
    for recipe in (path, folder, folder / "recipe.toml"):
        result = subprocess.run(
            [
                *(sys.executable, "-X", "importtime", "-m", "edgedistill"),
                *("run", recipe, "--runs", folder.parent, "--device", "cpu"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert result.returncode == 0 and "already finished" in result.stdout, result.stderr
        imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
        assert "edgedistill.cli.run" in imported
        assert "torch" not in imported, recipe


def test_another_recipe_under_the_same_name_is_refused(
    cli: Any, finished: tuple[Path, Any, Path]
) -> None:
    folder, _, path = finished
    result = cli("run", path, "--set", "train.lr=0.5", "--runs", folder.parent)
    result.assert_refused(folder, "train.lr: 0.02, 0.5", "--name")


def test_quiet_leaves_only_the_result(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    # Images are decoded as well.
    env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
    args = ["run", finished[2], "--runs", tmp_path, "--quiet", "--name", "x", "--seed", "3"]
    result = cli(*args, env=env)
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_training(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path, number: int
) -> None:
    args = ["run", finished[2], "--runs", tmp_path, "--name", "x"]
    result = cli(*args, at=cli.at(number, "checkpoint.pt", 2))
    assert result.status == 130
    saved = torch.load(tmp_path / "x" / "checkpoint.pt", weights_only=True)
    assert_names(result.error, f"step {saved['step']} of 6")
    if number == signal.SIGINT:
        return
    assert cli(*args).status == 0
    ours, whole = ((f / "student.safetensors").read_bytes() for f in (tmp_path / "x", finished[0]))
    assert ours == whole


# Making the temporary folder of a store, in the midst of it, at its end; filling the view cache;
# writing what follows training.
@pytest.mark.parametrize(
    ("number", "path", "nth"),
    [
        (signal.SIGTERM, "/store/", 2),
        (signal.SIGTERM, "/store/", 4),
        (signal.SIGINT, "/store/", 9),
        (signal.SIGINT, "/views/", 6),
        (signal.SIGTERM, ".openset.", 1),
    ],
)
def test_interrupted_in_another_stage(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path, number: int, path: str, nth: int
) -> None:
    folder, _, recipe = finished
    cache, run = tmp_path / "cache", tmp_path / "x"
    env = {"EDGEDISTILL_CACHE": str(cache)}
    args = ["run", recipe, "--runs", tmp_path, "--name", "x"]
    result = cli(*args, env=env, at=cli.at(number, path, nth))
    assert result.status == 130, result.err
    assert "goes on from there" in result.error
    assert not (run / "metrics.json").exists()
    assert not list(cache.glob("store/.*.tmp-*"))
    result = cli(*args, env=env)
    assert result.status == 0, result.err
    assert not [p for p in run.iterdir() if ".tmp" in p.name]
    ours, whole = ((f / "student.safetensors").read_bytes() for f in (run, folder))
    assert ours == whole


def test_a_run_does_not_go_on_with_something_else(
    cli: Any, recipe: MakeRecipe, tmp_path: Path, shapes: Path, tiny_clip: Path
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    clip = Path(shutil.copytree(tiny_clip, tmp_path / "clip"))
    teacher, start = clip / "open_clip_model.safetensors", tmp_path / "start.safetensors"
    picture = data / "paint" / "circle" / "00.png"
    backbone, _ = build_backbone("mobilenet_v3_small")
    save_file({k: v.clone() for k, v in backbone.state_dict().items()}, start)
    path = recipe(
        data={"dataset": str(data)},
        teacher={"model": f"local-dir:{clip}"},
        student={"weights": str(start)},
    )
    args = ["run", path, "--runs", tmp_path, "--name", "x"]
    assert cli(*args, at=cli.at(signal.SIGTERM, "checkpoint.pt")).status == 130
    for file, other, what in (
        (teacher, lambda: save_file({k: 1.1 * v for k, v in load_file(teacher).items()}, teacher),
         "teacher"),
        (start, lambda: save_file({k: 2 * v for k, v in load_file(start).items()}, start),
         "start weights"),
        (picture, lambda: Image.new("RGB", (40, 40), "red").save(picture), "images"),
    ):  # fmt: skip
        as_it_was = file.read_bytes()
        other()
        result = cli(*args)
        result.assert_refused(tmp_path / "x", f"other {what}")
        file.write_bytes(as_it_was)
    environment = tmp_path / "x" / "environment.json"
    recorded = environment.read_bytes()
    environment.unlink()
    cli(*args).assert_refused(environment)
    environment.write_bytes(recorded)
    result = cli(*args)
    assert result.status == 0, result.err


def test_two_processes_train_one_run(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    folder, _, path = finished
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    args = ["run", path, "--runs", tmp_path / "runs", "--name", "x"]
    env = {
        "EDGEDISTILL_CACHE": str(tmp_path / "cache"),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": "2",
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
    }
    both = [cli.start(*args, env={**env, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    first, second = (running.wait() for running in both)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    assert "Unseen domain sea" in first.out
    assert (second.out, second.err) == ("", "")
    run = tmp_path / "runs" / "x"
    assert visible(run) >= FILES
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    ours, whole = (load_file(f / "student.safetensors") for f in (run, folder))
    for name, tensor in whole.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-2, atol=1e-2, msg=name)
    # Going on needs no second process, and a finished run needs none at all.
    assert "already finished" in cli(*args).out


def test_two_processes_do_not_share_a_run(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    args = ["run", finished[2], "--runs", tmp_path, "--name", "x"]
    mark = tmp_path / "stopped"
    first = cli.start(*args, at=cli.at(signal.SIGSTOP, "checkpoint.pt", mark=mark))
    first.wait_for(mark.exists)
    second = cli(*args)
    first.kill(signal.SIGCONT)
    second.assert_refused(tmp_path / "x", "another process")
    assert first.wait().status == 0
