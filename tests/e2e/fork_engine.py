"""The local sweep engine with forks of the sweep in place of new interpreters.

A new interpreter imports torch for seconds before it is at work; a fork of a process that has
imported everything is at work at once. All else is the local engine's: see `edgedistill.sweep`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from subprocess import TimeoutExpired
from typing import NoReturn

from edgedistill.sweep.engines import Engine, Job, Outcome, Request
from edgedistill.sweep.local import run_jobs

# More files than a sweep has open.
MAX_FILES = 1024


class Fork:
    """A job's `python -m MODULE ARGUMENTS` in a fork; the part of `subprocess.Popen` in use."""

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        _, option, module, *arguments = job.command
        assert option == "-m"
        self._command = job.command
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            _run_and_exit(module, arguments, job, environment)

    def poll(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise TimeoutExpired(self._command, timeout or 0.0)
            time.sleep(0.01)
        return status

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self._pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run_and_exit(
    module: str, arguments: Sequence[str], job: Job, environment: Mapping[str, str]
) -> NoReturn:
    """The fork's whole life, in what a new interpreter would have: session, files, signals."""
    status: int | str | None = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The sweep's locks are not the job's.
        os.closerange(3, MAX_FILES)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [module, *arguments]
        with warnings.catch_warnings():
            # That the module is imported already is the point.
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
            runpy.run_module(module, run_name="__main__")
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


@contextmanager
def open_engine(request: Request, tell: Callable[[str, str], None]) -> Iterator[Engine]:
    """See `Opener`."""
    yield run_forks


def run_forks(
    jobs: Sequence[Job], at_once: int | None, tell: Callable[[str, str], None]
) -> Generator[Outcome, None, None]:
    """See `Engine`."""
    return run_jobs(jobs, at_once, tell, spawn=Fork)
