"""A program on a leash ends with whoever holds it, and says how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedistill.sweep import leash

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no signals to ask with"
)


def on_leash(script: str, *arguments: object) -> subprocess.Popen[bytes]:
    program = (sys.executable, "-S", "-c", script, *map(str, arguments))
    return subprocess.Popen(
        (sys.executable, "-S", leash.__file__, *program),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_it_lets_the_program_save_when_its_holder_is_gone(tmp_path: Path, endless: str) -> None:
    with on_leash(endless, tmp_path) as process:
        assert process.stdin and process.stdout
        # What was started is gone already: killing it kills nothing.
        assert process.wait() == 0
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        process.stdin.close()
        assert process.stdout.read() == b"130\n" and (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("print('hello')", 0),
        ("print('hello'); raise SystemExit(7)", 7),
        ("print('hello', flush=True); import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_it_says_how_the_program_ends(script: str, status: int) -> None:
    with on_leash(script) as process:
        assert process.stdout and process.stderr
        assert int(process.stdout.read()) == status and process.stderr.read() == b"hello\n"
