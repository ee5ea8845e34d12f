"""What runs the jobs of a sweep. An engine is one module with a function `run_jobs`."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from edgedistill.data.nearest import choices
from edgedistill.errors import EdgeDistillError

ENGINES = {"local": "edgedistill.sweep.local"}


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


@dataclass(frozen=True)
class Outcome:
    """How a job ended: exit status, negative for a signal, and wall-clock seconds."""

    name: str
    status: int
    seconds: float


class Engine(Protocol):
    """Runs jobs and yields each as it ends, in any order.

    A job that ends badly is an outcome, never an exception. Closing the generator stops what is
    still running and waits for it.
    """

    def __call__(
        self, jobs: Sequence[Job], at_once: int, waiting: Callable[[str], None]
    ) -> Generator[Outcome, None, None]: ...


def find_engine(name: str) -> Engine:
    """The engine of that name. Raises EdgeDistillError."""
    if name not in ENGINES:
        raise EdgeDistillError(f"--engine {name}: no such engine; {choices(name, list(ENGINES))}")
    return cast(Engine, import_module(ENGINES[name]).run_jobs)
