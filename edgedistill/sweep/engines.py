"""Engines that run the jobs of a sweep, each a module with a function `open_engine`."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from edgedistill._utils.suggestions import choices
from edgedistill.errors import MissingPackageError, UsageError
from edgedistill.runs.folder import RunFolder

ENGINES = {"local": "edgedistill.sweep.local", "ray": "edgedistill.sweep.on_ray"}
# Read as Ray is imported: it reports to nobody, and its own messages stay out of ours.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "^"}
BUSY = "another process is at work on it; waiting for that one"


@dataclass(frozen=True)
class Job:
    """One process to run.

    Attributes:
        name: the run's.
        command: program and arguments.
        folder: the run's folder, whose lock another process may hold.
        log: file that its output is appended to.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    log: Path

    @property
    def lock(self) -> Path:
        """The lock file of the run's folder."""
        return RunFolder(self.folder).lock


@dataclass(frozen=True)
class Outcome:
    """The end of a job.

    Attributes:
        name: the job's.
        status: exit status, negative for a signal.
        seconds: wall-clock time.
        why: the reason for a failure that is in no log, or "".
    """

    name: str
    status: int
    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Request:
    """Resources that a job asks of a cluster; None leaves the choice to the engine."""

    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None


# Called with a job's name, or the engine's, and a message about it.
Notify = Callable[[str, str], None]


class Engine(Protocol):
    """A generator that runs jobs and yields the outcome of each as it ends, in any order.

    At most `at_once` run at a time, or as many as there is room for. `notify` is called with a
    job's name and a message about it. A job that ends badly is an outcome, never an exception.
    Closing the generator stops what is still running and waits for it.
    """

    def __call__(
        self, jobs: Sequence[Job], at_once: int | None, notify: Notify
    ) -> Generator[Outcome, None, None]: ...


class Opener(Protocol):
    """A context manager that connects an engine.

    Raises UsageError for a request that the engine does not know, SweepError when there is no
    connection, or no more.
    """

    def __call__(self, request: Request, notify: Notify) -> AbstractContextManager[Engine]: ...


def find_engine(name: str) -> Opener:
    """The opener of an engine by name.

    Raises:
        UsageError: there is no such engine.
        MissingPackageError: its package is not installed.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine {name}: no such engine; {choices(name, list(ENGINES))}")
    if name == "ray":
        for setting, value in _SETTINGS.items():
            os.environ.setdefault(setting, value)
    try:
        module = import_module(ENGINES[name])
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingPackageError(
            f'--engine {name}: {name} is not installed; pip install "edgedistill[{name}]"'
        ) from None
    return cast(Opener, module.open_engine)
