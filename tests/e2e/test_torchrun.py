"""The command line under torchrun itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

import edgedistill as ed

pytestmark = pytest.mark.slow


def torchrun(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Two processes of `edgedistill`; torchrun takes a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "-m", "edgedistill", *map(str, args)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        },
    )


@pytest.fixture
def recipe(tmp_path: Path, tree_of: Callable[..., dict[str, Any]]) -> Path:
    path = tmp_path / "tiny.toml"
    # At a higher rate SCMD's gradients explode from these random weights, in one process too.
    path.write_text(tomli_w.dumps(tree_of(method={"name": "scmd"}, train={"lr": 1e-3})))
    return path


def test_a_run_of_two_processes(recipe: Path, tmp_path: Path) -> None:
    result = torchrun("run", recipe, "--runs", tmp_path, "--name", "x")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Unseen domain sea") == 1
    assert (tmp_path / "x" / "report.html").is_file()


def test_unlabelled_images_of_two_processes_are_those_of_one(
    tmp_path: Path, shapes: Path, tree_of: Callable[..., dict[str, Any]]
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for path in sorted((shapes / "paint" / "star").iterdir()):
        # In other colours, or the run would know them as its own.
        ImageOps.invert(Image.open(path)).save(pool / path.name)
    tree = tree_of(
        data={"unlabelled": [str(pool)]},
        method={"name": "kd"},
        train={"lr": 1e-4, "unlabelled_per_step": 5},
    )
    recipe = tmp_path / "kd.toml"
    recipe.write_text(tomli_w.dumps(tree))
    result = torchrun("run", recipe, "--runs", tmp_path, "--name", "two")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("join every step") == 1
    one, two = ed.run(recipe, tmp_path / "one", callbacks=[]), ed.load_run(tmp_path / "two")
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours["cross_entropy"] == pytest.approx(theirs["cross_entropy"], rel=1e-2)
        assert ours["distillation"] == pytest.approx(theirs["distillation"], rel=1e-2)


def test_a_pretraining_of_two_processes(
    tmp_path: Path, shapes: Path, tiny_clip: Path, tree_of: Callable[..., dict[str, Any]]
) -> None:
    tree = {name: tree_of()[name] for name in ("teacher", "views")}
    tree["data"] = {"images": [str(shapes)], "labelled": str(shapes)}
    tree["student"] = {"model": "mobilenet_v3_small", "size": 32}
    tree["train"] = {"steps": 3, "batch": 8, "lr": 1e-4, "eval_every": 3}
    recipe = tmp_path / "pretraining.toml"
    recipe.write_text(tomli_w.dumps(tree))
    result = torchrun("pretrain", recipe, "-o", tmp_path / "two.safetensors")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("cosine") == 1
    two = load_file(tmp_path / "two.safetensors")
    one = load_file(ed.pretrain((), tmp_path / "one.safetensors", recipe=recipe).path)
    assert all(torch.allclose(one[k].float(), two[k].float(), atol=1e-3) for k in one)


def test_bad_input_is_said_once(recipe: Path, tmp_path: Path) -> None:
    result = torchrun("run", recipe, "--runs", tmp_path, "--set", "data.target=see")
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("edgedistill: ")]
    assert len(errors) == 1 and "did you mean 'sea'" in errors[0], result.stderr
