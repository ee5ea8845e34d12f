"""Comparisons of the scripts in benchmarks/speed, and the names they are kept under."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

SPEED = Path(__file__).parents[3] / "benchmarks" / "speed"


Script = Callable[[str], ModuleType]


@pytest.fixture
def script() -> Script:
    """Imports a script of benchmarks/speed by its name."""
    return lambda name: import_module(f"benchmarks.speed.{name}")


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "-C", folder, *words], check=True, capture_output=True)


def test_the_commit_says_when_files_differ(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = script("measuring").commit
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "file").write_text("a")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "a")
    clean = commit(tmp_path)
    assert clean and set(clean) <= set("0123456789abcdef")
    (tmp_path / "file").write_text("b")
    assert commit(tmp_path) == f"{clean}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) is None


def test_recipes_do_not_share_runs_or_results(script: Script) -> None:
    view_counts = script("view_counts")
    shipped = Path("runs/view_counts"), SPEED / "results" / "view_counts.json"
    assert view_counts.places(view_counts.RECIPE) == shipped
    assert view_counts.places(Path("recipes/mobilenet_scipd.toml")) == shipped
    assert view_counts.places(Path("recipes/mobilenet_kd.toml")) == (
        Path("runs/view_counts-mobilenet_kd"),
        SPEED / "results" / "view_counts-mobilenet_kd.json",
    )


def test_no_worker_fetches_while_others_are_timed(script: Script, tmp_path: Path) -> None:
    pipeline = script("input_pipeline")
    pipeline.make_up(tmp_path, 8)
    before = set(multiprocessing.active_children())
    batches = pipeline.torchvisions(tmp_path, 16, 4, torch.device("cpu"))()
    # Past the end of an epoch of two batches.
    shapes = {next(batches).shape for _ in range(3)}
    assert shapes == {(4, 3, 16, 16)}
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == pipeline.WORKERS
    batches.close()
    for worker in workers:
        worker.join()
    assert set(multiprocessing.active_children()) == before


def test_formats_lose_nothing(script: Script) -> None:
    formats = script("formats")
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    for options in formats.FORMATS.values():
        assert np.array_equal(formats.decode(formats.encode(image, options)), image)
    result = formats.compare([image], rounds=1)
    assert result.keys() == formats.FORMATS.keys()
    assert all(min(f.values()) > 0 for f in result.values())
