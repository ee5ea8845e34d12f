"""Look-up of a finished run by its name or folder."""

from __future__ import annotations

import os
from pathlib import Path

from culprits import raises

from edgedistill.errors import RunFolderError
from edgedistill.runs.lookup import find_run


def run(folder: Path, finished: int | None) -> Path:
    """A run's folder, finished at a second of the clock or not at all."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").touch()
    if finished is not None:
        (folder / "metrics.json").touch()
        os.utime(folder / "metrics.json", (finished, finished))
    return folder


def test_by_name_by_folder_and_the_newest(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    old, new = run(runs / "zebra", 100), run(runs / "ant", 200)
    run(runs / "half", None)
    elsewhere = run(tmp_path / "elsewhere", 300)
    assert find_run(None, runs) == new
    assert find_run("zebra", runs) == old
    assert find_run(str(elsewhere), runs) == elsewhere


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with raises(RunFolderError, tmp_path):
        find_run(None, tmp_path)
    run(tmp_path / "half", None)
    with raises(RunFolderError, "half", "unfinished"):
        find_run("half", tmp_path)
    with raises(RunFolderError, "other", tmp_path) as caught:
        find_run("other", tmp_path)
    assert "half" not in str(caught.value)
    run(tmp_path / "whole", 100)
    with raises(RunFolderError, "other", tmp_path, "whole"):
        find_run("other", tmp_path)
