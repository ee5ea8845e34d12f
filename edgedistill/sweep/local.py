"""The engine `local`: processes of this machine, a fixed number at a time."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from edgedistill._utils.cpus import available_cpus
from edgedistill._utils.locks import is_locked
from edgedistill.errors import UsageError
from edgedistill.sweep.engines import BUSY, Engine, Job, Notify, Outcome, Request

_POLL_SECONDS = 0.05
# A run saves and ends within a step of being asked to.
_PATIENCE_SECONDS = 300.0


class Process(Protocol):
    """A child process as `subprocess.Popen` has it."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


Spawn = Callable[[Job, Mapping[str, str]], Process]


@dataclass
class _Running:
    job: Job
    process: Process
    started: float


@contextmanager
def open_engine(request: Request, notify: Notify) -> Iterator[Engine]:
    """See `Opener`; there is nothing to connect to, and nothing to ask for.

    Raises UsageError when `request` asks for something.
    """
    for option in ("address", "cpus", "gpus"):
        if getattr(request, option) is not None:
            raise UsageError(f"--{option}: is for --engine ray; the local one has --jobs")
    yield run_jobs


def spawn_process(job: Job, environment: Mapping[str, str]) -> Process:
    """Start a job's command in a session of its own, its output appended to the job's log.

    Ctrl-C in a terminal reaches a whole process group: in one of their own, the children hear of a
    stop once, from the sweep, and save.
    """
    with open(job.log, "ab") as log:
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def run_jobs(
    jobs: Sequence[Job],
    at_once: int | None,
    notify: Notify,
    spawn: Spawn = spawn_process,
) -> Generator[Outcome, None, None]:
    """Run jobs as child processes, by default one at a time; see `Engine`.

    `spawn` starts a job with an environment. A job whose run another process is at work on, such
    as one that an earlier, killed sweep started, waits for that process.
    """
    at_once = at_once or 1
    queue = deque(jobs)
    slots: dict[int, _Running] = {}
    announced: set[str] = set()
    try:
        while queue or slots:
            for slot in range(at_once):
                job = _next_free(queue, notify, announced) if slot not in slots else None
                if job is not None:
                    environment = slot_environment(
                        slot, at_once, os.environ, available_cpus(), _gpus()
                    )
                    slots[slot] = _Running(job, spawn(job, environment), time.monotonic())
            for slot, running in list(slots.items()):
                status = running.process.poll()
                if status is not None:
                    del slots[slot]
                    yield Outcome(running.job.name, status, time.monotonic() - running.started)
            time.sleep(_POLL_SECONDS)
    finally:
        _stop(list(slots.values()))


def slot_environment(
    slot: int, at_once: int, environment: Mapping[str, str], cpus: int, gpus: int
) -> dict[str, str]:
    """A child's environment: its share of the CPU cores, and a GPU of its own where there are many.

    Variables that are set stay, and a single job gets the whole machine.
    """
    child = dict(environment)
    if at_once > 1:
        child.setdefault("OMP_NUM_THREADS", str(max(1, cpus // at_once)))
        if gpus > 1 and "CUDA_VISIBLE_DEVICES" not in environment:
            child["CUDA_VISIBLE_DEVICES"] = str(slot % gpus)
    return child


def _next_free(queue: deque[Job], notify: Notify, announced: set[str]) -> Job | None:
    """The first job whose folder nobody is at work on."""
    for _ in range(len(queue)):
        job = queue.popleft()
        if not is_locked(job.lock):
            return job
        if job.name not in announced:
            announced.add(job.name)
            notify(job.name, BUSY)
        queue.append(job)
    return None


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _stop(running: list[_Running]) -> None:
    for slot in running:
        slot.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + _PATIENCE_SECONDS
    for slot in running:
        try:
            slot.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            slot.process.kill()
            slot.process.wait()
