"""A small sweep file, and runs that are finished without being run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan, make_plan

RECIPE = """
[data]
target = "line"
[method]
name = "scipd"
alpha = 0.5
"""


@pytest.fixture
def sweep_of(tmp_path: Path) -> Callable[[str], Path]:
    """Write a sweep file beside two recipes, `base.toml` (SCI-PD) and `other.toml` (SCMD)."""

    def write(text: str) -> Path:
        (tmp_path / "base.toml").write_text(RECIPE)
        scmd = RECIPE.replace("scipd", "scmd").replace("alpha = 0.5", "temperature = 2.5")
        (tmp_path / "other.toml").write_text(scmd)
        path = tmp_path / "grid.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def plan_of(sweep_of: Callable[[str], Path]) -> Callable[[str], Plan]:
    return lambda text: make_plan(sweep_of(text))


@pytest.fixture
def finish() -> Callable[..., None]:
    """Leave behind what a finished run leaves, with some metrics of the target."""

    def write(folder: SweepFolder, name: str, val: float = 0.5, **target: Any) -> None:
        path = folder.run(name)
        path.mkdir(parents=True, exist_ok=True)
        (path / "history.csv").write_text(f"step,val_accuracy\n1,0.1\n2,{val}\n3,0.2\n")
        metrics = {
            "target": {"domain": "line", **target},
            "source_val": {"accuracy": val},
            "openset": {"score": "max_logit", "threshold": 0.25},
            "teacher": {"accuracy": 0.75, "h_score": None},
            "seconds": 10.0,
        }
        (path / "metrics.json").write_text(json.dumps(metrics))

    return write
