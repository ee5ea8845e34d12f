"""A run that was stopped before it trained has nothing to lose by another recipe."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedistill.recipe import load_recipe


def test_what_has_too_little_memory_goes_on_with_smaller_batches(
    cli: Any, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """A signal stands in for the lack of memory that asks for a smaller `teacher.batch`."""
    env, run = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}, tmp_path / "x"
    args = ["run", recipe(train={"steps": 1}), "--runs", tmp_path, "--name", "x"]
    stopped = cli(*args, env=env, at=cli.at(signal.SIGTERM, "/views/", 6))
    assert stopped.status == 130, stopped.err
    assert (run / "environment.json").exists() and not (run / "checkpoint.pt").exists()
    less = ["--set", "teacher.batch=6", "--set", "train.batch_per_domain=3"]
    result = cli(*args, *less, env=env)
    assert result.status == 0, result.err
    saved = load_recipe(run / "recipe.toml")
    assert (saved.teacher.batch, saved.train.batch_per_domain) == (6, 3)
    # What was trained is kept from a third one.
    cli(*args, env=env).assert_refused(run, "teacher.batch: 6, 128")
