"""The engine `ray` on a cluster of two nodes, with small stand-ins for the training process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from culprits import assert_names, raises

from edgedistill.errors import Interrupted, SweepError
from edgedistill.sweep.drive import drive
from edgedistill.sweep.engines import Engine, Job, Outcome, Request, find_engine
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.local import run_jobs
from edgedistill.sweep.plan import Plan, PlannedRun
from edgedistill.sweep.results import collect_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds a task's worker in /proc"),
]
PROGRAMS = Path(__file__).with_name("programs")


def kill_worker(name: str) -> None:
    """SIGKILL for the worker at work on the task of that name: Ray calls the process after it."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(f"ray::{name}".encode()):
                os.kill(int(folder.name), signal.SIGKILL)
                return
    raise AssertionError(f"no worker is at work on {name}")


def job(folder: Path, program: str = "wait_for_file", *arguments: str) -> Job:
    """A job of one of `programs/`; the default works until there is a file `go`."""
    folder.mkdir(exist_ok=True)
    path = PROGRAMS / f"{program}.py"
    command = (sys.executable, "-S", str(path), *(arguments or (str(folder),)))
    return Job(folder.name, command, folder, folder / "log")


class Notices:
    """Names of the jobs that the engine sent a notice about, in order, and the notices."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.texts: list[str] = []

    def __call__(self, name: str, text: str) -> None:
        self.names.append(name)
        self.texts.append(text)


@pytest.fixture
def engine(two_nodes: Any, notices: Notices) -> Iterator[Engine]:
    with find_engine("ray")(Request(address=two_nodes.address), notices) as run:
        yield run


@pytest.fixture
def notices() -> Notices:
    return Notices()


def until(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.02)


class Meanwhile(threading.Thread):
    """Does something while the engine works in the main thread, where signals arrive."""

    def __init__(self, what: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._what = what
        self.start()

    def run(self) -> None:
        self._what()


def outcomes(
    engine: Engine, jobs: list[Job], notices: Notices, at_once: int | None = None
) -> dict[str, Outcome]:
    with closing(engine(jobs, at_once, notices)) as ended:
        return {outcome.name: outcome for outcome in ended}


def test_what_a_killed_worker_was_at_starts_again(
    engine: Engine, notices: Notices, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    work = job(folder)

    def kill() -> None:
        until((folder / "start0").exists)
        kill_worker("run")
        until((folder / "start1").exists)
        (folder / "go").touch()

    thread = Meanwhile(kill)
    outcomes_by_name = outcomes(engine, [work], notices)
    thread.join()
    assert outcomes_by_name["run"].status == 0 and (folder / "done").exists()
    # The process of the killed worker did not live on.
    assert (folder / "saved").exists()
    assert notices.names == ["run"]


def test_what_a_lost_node_was_at_starts_again_on_another(
    two_nodes: Any, engine: Engine, notices: Notices, tmp_path: Path
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]

    def lose() -> None:
        # A CPU on each node: one job is on each.
        until(lambda: all((folder / "start0").exists() for folder in folders))
        two_nodes.lose_second()
        until(lambda: any((folder / "saved").exists() for folder in folders))
        lost, other = sorted(folders, key=lambda folder: not (folder / "saved").exists())
        (other / "go").touch()
        until((lost / "start1").exists)
        (lost / "go").touch()

    jobs = [job(folder) for folder in folders]
    thread = Meanwhile(lose)
    outcomes_by_name = outcomes(engine, jobs, notices)
    thread.join()
    assert [outcomes_by_name[name].status for name in "ab"] == [0, 0]
    starts = {folder.name: len(list(folder.glob("start*"))) for folder in folders}
    assert sorted(starts.values()) == [1, 2]
    assert notices.names == [name for name, count in starts.items() if count == 2]


def test_a_job_that_loses_every_worker_is_given_up(
    engine: Engine, notices: Notices, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    work = job(folder)

    def kill() -> None:
        for start in range(4):
            until((folder / f"start{start}").exists)
            kill_worker("run")

    thread = Meanwhile(kill)
    outcomes_by_name = outcomes(engine, [work], notices)
    thread.join()
    assert outcomes_by_name["run"].status != 0
    assert_names(outcomes_by_name["run"].why, 4)
    assert notices.names == ["run"] * 3


def test_how_jobs_end(engine: Engine, notices: Notices, tmp_path: Path) -> None:
    jobs = [
        job(tmp_path / "fine", "end", "0", "hello"),
        job(tmp_path / "wrong", "end", "1", "no good"),
        job(tmp_path / "killed", "kill_itself"),
    ]
    nowhere = Job("nowhere", (sys.executable,), tmp_path, tmp_path / "no" / "log")
    outcomes_by_name = outcomes(engine, [*jobs, nowhere], notices, at_once=1)
    assert [outcomes_by_name[j.name].status for j in jobs] == [0, 1, -signal.SIGKILL]
    assert (tmp_path / "fine" / "log").read_text() == "hello\n"
    assert (tmp_path / "wrong" / "log").read_text() == "no good\n"
    assert_names(outcomes_by_name["nowhere"].why, nowhere.log)
    assert notices.names == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_the_processes_save(
    engine: Engine, notices: Notices, tmp_path: Path, number: int
) -> None:
    folders = [tmp_path / name for name in "abc"]
    jobs = [job(folder) for folder in folders]

    def stop() -> None:
        until(lambda: sum((folder / "start0").exists() for folder in folders) == 2)
        os.kill(os.getpid(), number)

    thread = Meanwhile(stop)
    with pytest.raises(Interrupted):
        outcomes(engine, jobs, notices)
    thread.join()
    # Two had a CPU and the third waited for one.
    assert sum((folder / "saved").exists() for folder in folders) == 2
    assert not any((folder / "done").exists() for folder in folders)


def test_a_request_nobody_can_meet_is_noticed(two_nodes: Any, notices: Notices) -> None:
    request = Request(address=two_nodes.address, cpus=64)
    with find_engine("ray")(request, notices):
        pass
    assert notices.names == ["ray"]
    assert_names(notices.texts[0], 64)


def test_no_cluster_there_is_one_line() -> None:
    with socket.socket() as unused:
        # Bound, and nobody listens.
        unused.bind(("127.0.0.1", 0))
        request = Request(address=f"127.0.0.1:{unused.getsockname()[1]}")
        _refused(request)


def _refused(request: Request) -> None:
    with (
        raises(SweepError, "--engine ray", request.address or "", "ray start --head"),
        find_engine("ray")(request, lambda name, text: None),
    ):
        pass


def test_the_rows_are_those_of_the_local_engine(
    engine: Engine, plan_of: Callable[[str], Plan], tmp_path: Path
) -> None:
    plan = plan_of('recipe = "base.toml"\ngrid.seed = [0, 10]\n')

    def command(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
        finish = str(PROGRAMS / "finish.py")
        return (sys.executable, "-S", finish, str(folder.run(run.name)))

    rows = []
    for name, start in (("local", run_jobs), ("ray", engine)):
        folder = SweepFolder(tmp_path / name)
        assert drive(plan, folder, start, None, print, lambda: None, command) == {}
        rows.append(collect_rows(plan, folder))
    assert rows[0] == rows[1] and {row["status"] for row in rows[1]} == {"finished"}


def test_what_a_killed_driver_left_is_taken_up_by_the_next(two_nodes: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    work = job(folder)
    driver = str(PROGRAMS / "ray_driver.py")
    command = (sys.executable, driver, str(folder), two_nodes.address, *work.command)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        until((folder / "start0").exists)
        first.kill()
    # Its job saves and ends, and holds nothing that the next one needs.
    until((folder / "saved").exists)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second:
        until((folder / "start1").exists)
        (folder / "go").touch()
        assert second.stdout and second.stdout.read() == "status 0\n"
    assert second.returncode == 0 and (folder / "done").exists()
