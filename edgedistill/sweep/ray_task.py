"""Tasks of the engine `ray`: one job, run as a process of its own on the task's node.

Arguments and results are names, paths and numbers only.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgedistill._utils.locks import is_locked
from edgedistill.sweep import pdeathsig

# A run saves and ends within a step of being asked to.
PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.1
_SHARED = "is it on a filesystem that every node has?"


def run_here(
    command: Sequence[str],
    lock: str,
    log: str,
    where: str,
    python: str,
    environment: Mapping[str, str],
) -> tuple[int, float, str]:
    """Run a job on this node: the function of the Ray task.

    A run whose lock is held is waited for: the process of a lost worker or a killed driver may
    still be saving. Cancelling the task lets the process save and end.

    Args:
        command: program and arguments.
        lock: the lock file of the run's folder.
        log: file that its output is appended to.
        where: the working directory.
        python: the driver's interpreter; in `command` it becomes this node's.
        environment: variables that differ from this node's.

    Returns:
        Exit status, seconds, and the reason of a failure that is in no log, or "".
    """
    while is_locked(Path(lock)):
        time.sleep(_POLL_SECONDS)
    started = time.monotonic()
    program = [sys.executable if command[0] == python else command[0], *command[1:]]
    try:
        status = _run(program, log, where, {**os.environ, **environment})
    except OSError as error:
        reason = f"{error.filename}: {error.strerror} on node {socket.gethostname()}; {_SHARED}"
        return 1, 0.0, reason
    return status, time.monotonic() - started, ""


def _run(program: Sequence[str], log: str, where: str, environment: Mapping[str, str]) -> int:
    with open(log, "ab") as output:
        process = subprocess.Popen(
            (sys.executable, "-S", "-E", pdeathsig.__file__, *program),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=where,
            env=environment,
            # Apart from the worker's process group, which may be signalled as a whole.
            start_new_session=True,
        )
    try:
        # Looks now and then: Ray's way to cancel does not reach a system call that waits.
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
    finally:
        # Cancelled: the program saves and ends.
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    return process.wait()
