"""Caches filled before the runs that read them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgedistill as ed
from edgedistill.callbacks import Progress


class Work(ed.Callback):
    """Names of the work other than training that had anything to do."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def on_progress(self, progress: Progress) -> None:
        if progress.total:
            self.names.add(progress.name)


@pytest.mark.parametrize("target", ["sea", "unlabelled"])
def test_after_a_build_a_run_decodes_nothing_and_asks_the_teacher_nothing(
    tree_of: Callable[..., dict[str, Any]],
    shapes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    if target == "unlabelled":
        target = str(shutil.copytree(shapes / "sea" / "star", tmp_path / "unlabelled"))
    tree = tree_of(data={"target": target})
    building, running = Work(), Work()
    ed.build_caches(tree, callbacks=[building])
    assert any("teacher" in name for name in building.names)
    ed.run(tree, out=tmp_path / "run", callbacks=[running])
    assert not running.names
