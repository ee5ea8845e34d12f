"""Locks: one holder at a time, freed by a death, and an error of the caller's kind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from culprits import assert_names, raises

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


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_still_locks_and_says_so_once(
    tmp_path: Path, code: int
) -> None:
    program = Path(__file__).parent / "programs" / "lock_without_flock.py"
    command = [sys.executable, program, tmp_path, str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    printed = json.loads(done.stdout)
    assert printed["answers"] == {
        "first": True,
        "second": False,
        "locked while held": True,
        "locked afterwards": False,
        "after a killed holder": True,
    }
    (warning,) = printed["warnings"]
    assert_names(warning, tmp_path, os.strerror(code))
    assert not list(tmp_path.iterdir())
