"""Locks: one holder at a time, freed by a death, and an error of the caller's kind."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from culprits import raises

from edgedistill._utils.locks import is_locked, lock
from edgedistill.errors import CacheError

ADVICE = "choose another folder"


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked process, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_held_lock_is_refused_to_another_process_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"

    def refused() -> None:
        with lock(path, CacheError, ADVICE, wait=False) as held:
            assert not held
        assert is_locked(path)

    with lock(path, CacheError, ADVICE) as held:
        assert held
        assert in_child(refused) == 0
    assert not is_locked(path)
    with lock(path, CacheError, ADVICE, wait=False) as held:
        assert held


def test_a_killed_holder_frees_its_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"

    def killed() -> None:
        with lock(path, CacheError, ADVICE):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed) == -signal.SIGKILL
    assert not is_locked(path)
    with lock(path, CacheError, ADVICE, wait=False) as held:
        assert held


def test_an_exception_in_the_block_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(OSError, match="of the block"), lock(path, CacheError, ADVICE):
        raise OSError("of the block")
    assert not is_locked(path)


def test_a_folder_that_cannot_be_locked_is_an_error_of_the_callers_kind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / ".lock"
    with raises(CacheError, path.parent), lock(path, CacheError, ADVICE):
        pytest.fail("held")
    assert not is_locked(path)


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_flock_still_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def missing(*args: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", missing)
    path = tmp_path / ".lock"
    with lock(path, CacheError, ADVICE):
        with lock(path, CacheError, ADVICE, wait=False) as held:
            assert not held
        assert is_locked(path)
    with lock(path, CacheError, ADVICE, wait=False) as held:
        assert held
