"""A build that is stopped at any moment leaves nothing, and a killed one's rest is cleared."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedistill.data.store.build_once import build_once
from edgedistill.errors import Interrupted


def fill(folder: Path) -> None:
    (folder / "part").write_text("x")


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def interrupted_after(function: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    """The function, with a signal just after it has done its work, the first few times."""
    left = [times]

    def patched(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        if ".tmp-" in str(args[0]) and left[0]:
            left[0] -= 1
            raise Interrupted
        return result

    return patched


@pytest.mark.parametrize("step", ["mkdir", "rename"])
def test_interrupted_between_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(Path, step, interrupted_after(getattr(Path, step)))
    with pytest.raises(Interrupted):
        build_once(tmp_path / "it", fill)
    assert names(tmp_path) == (["it"] if step == "rename" else [])
    monkeypatch.undo()
    assert (build_once(tmp_path / "it", fill) / "part").read_text() == "x"


def test_interrupted_again_while_cleaning_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(folder: Path) -> None:
        fill(folder)
        raise Interrupted

    calls: list[Path] = []
    real = shutil.rmtree

    def rmtree(path: Path, **options: Any) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise Interrupted
        real(path, **options)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with pytest.raises(Interrupted):
        build_once(tmp_path / "it", stopped)
    assert names(tmp_path) == []


def killed_in(target: Path) -> None:
    """Build in a process that is killed half-way."""
    pid = os.fork()
    if pid == 0:

        def die(folder: Path) -> None:
            fill(folder)
            os.kill(os.getpid(), signal.SIGKILL)

        build_once(target, die)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert list(target.parent.glob(f".{target.name}.tmp-*"))


@pytest.mark.parametrize("next_one", ["it", "another"])
def test_the_next_build_clears_what_a_killed_one_left(tmp_path: Path, next_one: str) -> None:
    killed_in(tmp_path / "it")
    build_once(tmp_path / next_one, fill)
    assert names(tmp_path) == [next_one]


def test_a_build_under_way_is_left_alone(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        # Another target of the same parent is built meanwhile.
        build_once(tmp_path / "another", fill)
        fill(folder)

    assert (build_once(tmp_path / "it", build) / "part").read_text() == "x"
    assert names(tmp_path) == ["another", "it"]


def test_what_is_built_is_as_open_as_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        mode = build_once(tmp_path / "it", fill).stat().st_mode
    finally:
        os.umask(before)
    assert stat.S_IMODE(mode) == 0o755
