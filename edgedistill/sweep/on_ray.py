"""The engine `ray`: one task of a Ray cluster for each job.

A job is a process on its task's node, and all its files lie in folders that every node shares; so
after the loss of a worker or a node the job resumes on another.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)

from edgedistill._utils.cache_dir import ENVIRONMENT, cache_dir
from edgedistill._utils.locks import is_locked
from edgedistill.errors import EdgeDistillError, Interrupted, SweepError
from edgedistill.sweep.engines import BUSY, Engine, Job, Notify, Outcome, Request
from edgedistill.sweep.ray_task import PATIENCE_SECONDS, run_here

_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 20.0
# Beyond that a job is what kills its workers.
_MAX_LOST = 3
# Results are a few bytes; nothing else goes through Ray.
_STORE_BYTES = 100 * 2**20
_LOST = (WorkerCrashedError, NodeDiedError, LocalRayletDiedError, ObjectLostError)
# A worker that ends by itself would kill the process of its job outright; without that the process
# is asked to save, see `edgedistill.sweep.pdeathsig`.
_WORKER_ENVIRONMENT = {"RAY_kill_child_processes_on_worker_exit": "0"}
# Variables of the driver's environment that a run needs on every node.
_PASSED = ("EDGEDISTILL_", "HF_", "OMP_NUM_THREADS")


@contextmanager
def open_engine(request: Request, notify: Notify) -> Iterator[Engine]:
    """Join the cluster at the address asked for, at RAY_ADDRESS, or one of this machine alone.

    See `Opener`. A job asks for one CPU, and for one GPU where the cluster has any, unless
    `request` says otherwise. Raises SweepError when there is no cluster, when this machine alone
    cannot run a job, and inside the block when the cluster is lost.
    """
    address = request.address or os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            address=address,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
            **(own if address == "local" else {}),
        )
    except Exception as error:  # Ray raises no narrower class for a node that does not start.
        raise _no_cluster(address, _first_line(error)) from None
    finally:
        # Ray puts its own there, which would end a sweep without stopping its runs.
        for number, handler in before.items():
            signal.signal(number, handler)
    try:
        cpus = 1.0 if request.cpus is None else request.cpus
        have = ray.cluster_resources().get("GPU", 0)
        gpus = min(1.0, have) if request.gpus is None else request.gpus
        if not _fits(cpus, gpus):
            if address == "local":
                raise SweepError(
                    f"--engine ray: this machine has no {_amount(cpus, gpus)} for a run; ask for "
                    "less with --cpus and --gpus"
                )
            notify("ray", f"no node has {_amount(cpus, gpus)}; runs wait until one has")
        yield partial(run_jobs, cpus=cpus, gpus=gpus)
    except RayError as error:
        raise SweepError(
            f"--engine ray: the cluster was lost: {_first_line(error)}; the same command goes on "
            "once it is back"
        ) from None
    finally:
        ray.shutdown()


def run_jobs(
    jobs: Sequence[Job], at_once: int | None, notify: Notify, *, cpus: float, gpus: float
) -> Generator[Outcome, None, None]:
    """Run jobs as tasks, each with so many CPUs and GPUs of a node; see `Engine`.

    The job of a lost worker or node starts again on another, up to three times a job.
    """
    task = ray.remote(run_here)
    options = {"num_cpus": cpus, "num_gpus": gpus, "scheduling_strategy": "SPREAD"}
    # A task that is lost is put back here rather than by Ray, so that it is seen and counted.
    options["max_retries"] = 0
    options["runtime_env"] = {"env_vars": _WORKER_ENVIRONMENT}
    queue = deque(jobs)
    running: dict[ray.ObjectRef, Job] = {}
    lost: Counter[str] = Counter()
    with _deferred_signals() as signals:
        try:
            while queue or running:
                if signals:
                    raise Interrupted
                while queue and (at_once is None or len(running) < at_once):
                    job = queue.popleft()
                    if is_locked(job.lock):
                        notify(job.name, BUSY)
                    running[_submit(task.options(name=job.name, **options), job)] = job
                ended, _ = ray.wait(list(running), timeout=0)
                for reference in ended:
                    job = running.pop(reference)
                    outcome = _outcome(reference, job)
                    if outcome is None and lost[job.name] < _MAX_LOST:
                        lost[job.name] += 1
                        queue.appendleft(job)
                        notify(job.name, "its worker or its node was lost; it starts again")
                        if not _fits(cpus, gpus):
                            notify("ray", f"no node has {_amount(cpus, gpus)}; waiting for one")
                        continue
                    yield outcome or Outcome(
                        job.name, 1, 0.0, f"its worker or its node was lost {_MAX_LOST + 1} times"
                    )
                if not ended:
                    time.sleep(_POLL_SECONDS)
        finally:
            signals.clear()
            _stop(running, signals)


def _check_reachable(address: str) -> None:
    """Raise SweepError where nothing listens at an address; Ray itself retries for minutes."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, why: str) -> EdgeDistillError:
    return SweepError(
        f"--engine ray: no cluster at {address}: {why}; start one with: ray start --head"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _submit(task: Any, job: Job) -> ray.ObjectRef:
    return task.remote(
        command=list(job.command),
        lock=str(job.lock.absolute()),
        log=str(job.log.absolute()),
        where=str(Path.cwd()),
        python=sys.executable,
        environment=_environment(),
    )


def _outcome(reference: ray.ObjectRef, job: Job) -> Outcome | None:
    """The outcome of a task; None when its worker or its node was lost."""
    try:
        status, seconds, why = ray.get(reference)
    except OutOfMemoryError:
        return Outcome(job.name, 1, 0.0, "its node ran out of memory; ask for more with --cpus")
    except _LOST:
        return None
    except RayError as error:
        return Outcome(job.name, 1, 0.0, _first_line(error))
    return Outcome(job.name, status, seconds, why)


def _stop(running: dict[ray.ObjectRef, Job], signals: list[int]) -> None:
    """Cancel tasks and wait until their processes have saved, or until asked a second time."""
    for reference in running:
        ray.cancel(reference)
    end = time.monotonic() + PATIENCE_SECONDS
    unfinished = list(running)
    while unfinished and not signals and time.monotonic() < end:
        _, unfinished = ray.wait(unfinished, num_returns=len(unfinished), timeout=0)
        time.sleep(_POLL_SECONDS)


def _fits(cpus: float, gpus: float) -> bool:
    return any(
        node["Alive"]
        and node["Resources"].get("CPU", 0) >= cpus
        and node["Resources"].get("GPU", 0) >= gpus
        for node in ray.nodes()
    )


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs" if gpus else f"{cpus:g} CPUs"


def _environment() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    return {**passed, ENVIRONMENT: str(cache_dir())}


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Signals to stop, collected in a list: an exception of a handler is lost in Ray's code."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def keep(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, keep) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
