"""`edgedistill pretrain` as a process: its output, a kill in any stage, and bad input."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from safetensors import safe_open


@pytest.fixture(scope="module")
def recipe(
    shapes: Path,
    tree_of: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A tiny recipe of a pretraining."""
    run = tree_of()
    tree = {name: run[name] for name in ("teacher", "views", "student")}
    tree["data"] = {"images": [str(shapes)]}
    tree["train"] = {
        "steps": 4,
        "batch": 4,
        "warmup_steps": 0,
        "eval_every": 2,
        "checkpoint_every": 1,
    }
    path = tmp_path_factory.mktemp("pretrain") / "tiny.toml"
    path.write_text(tomli_w.dumps(tree))
    return path


@pytest.fixture(scope="module")
def finished(cli: Any, recipe: Path, shapes: Path) -> tuple[Path, Any]:
    """The weights of the recipe, and what the command printed."""
    out = recipe.with_name("start.safetensors")
    result = cli("pretrain", recipe, "-o", out, "--labelled", shapes)
    assert result.status == 0, result.err
    return out, result


def test_the_command_makes_weights_and_says_what_comes_next(
    finished: tuple[Path, Any], cli: Any, recipe: Path, shapes: Path
) -> None:
    out, result = finished
    with safe_open(out, "pt") as file:
        assert "projection.weight" in file.keys()  # noqa: SIM118
        assert file.metadata()["projection_teacher"]
    assert str(out) in result.out and "zero-shot" in result.out
    assert "training 4/4" in result.err
    again = cli("pretrain", recipe, "-o", out, "--labelled", shapes)
    assert again.status == 0 and "already finished" in again.out
    cli("pretrain", recipe, "-o", out).assert_refused(out.with_suffix(".pretraining"))


@pytest.mark.parametrize(
    "stage",
    [
        "train",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("prepare", "teach", "report")),
    ],
)
def test_killed_in_a_stage_and_started_again_it_ends_with_the_same_bytes(
    finished: tuple[Path, Any], cli: Any, recipe: Path, shapes: Path, tmp_path: Path, stage: str
) -> None:
    out, mark = tmp_path / "killed.safetensors", tmp_path / "mark"
    arguments = ("pretrain", recipe, "-o", out, "--labelled", shapes)
    at = cli.at(signal.SIGKILL, "", 3, mark=mark, kind="file", stage=stage)
    env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
    assert cli(*arguments, at=at, env=env).status == -signal.SIGKILL
    resumed = cli(*arguments, env=env)
    assert resumed.status == 0, resumed.err
    assert out.read_bytes() == finished[0].read_bytes()


def test_bad_input_is_one_line(cli: Any, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"

    def run(*args: str | Path) -> Any:
        return cli("pretrain", *args, "-o", out)

    run(tmp_path / "nowhere", "--teacher", "emoji-clip").assert_refused(
        "data.images", tmp_path / "nowhere"
    )
    run(tmp_path).assert_refused("teacher.model")
    run(tmp_path / "no.toml").assert_refused(tmp_path / "no.toml")
    run(recipe, recipe.with_name("other.toml")).assert_refused("other.toml")
    run(recipe, "--set", "train.step=3").assert_refused("train.step", "steps")
    run(recipe, "--student", "mobilenet").assert_refused("student.model", "mobilenet")
    run(recipe, "--teacher", "timm/no_such_net").assert_refused("no_such_net")
    run(recipe, "--weights", tmp_path / "w.pth").assert_refused(tmp_path / "w.pth")
    assert not out.exists()
    cli("pretrain", recipe, "-o", tmp_path).assert_refused(tmp_path)
