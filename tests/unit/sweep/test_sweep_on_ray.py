"""`edgedistill sweep --engine ray` with real training on two nodes, whatever is lost on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomli_w

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds a task's worker in /proc"),
]
SWEEP = """
recipe = "tiny.toml"
[set]
train.steps = 4
train.eval_every = 2
train.checkpoint_every = 1
data.protocol = "hdg"
data.hybridness = 0
[grid]
seed = [0, 1]
[export]
int8 = false
"""


class Sweep:
    """Starts the command on a cluster, in a process of its own."""

    def __init__(self, folder: Path, address: str, cache: Path) -> None:
        self.folder, self._address, self._cache = folder, address, cache
        self.out = folder / "on_ray"
        self.runs = self.out / "grid" / "runs"

    def start(self, *options: str, out: Path | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "edgedistill", "sweep", "grid.toml"]
        command += ["--out", str(out or self.out), *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEDISTILL_CACHE": str(self._cache)}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def on_ray(self) -> subprocess.Popen[str]:
        return self.start("--engine", "ray", "--address", self._address)


def until(what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait for something that a sweep makes."""
    while not (result := what()):
        assert process.poll() is None or what(), process.communicate()[0]
        time.sleep(0.05)
    return result


class Worker(NamedTuple):
    """A process of Ray at work on a run, after which Ray calls it."""

    pid: int
    run: str


def worker_of_a_run() -> Worker | None:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if title := re.match(rb"ray::(s\d)", (folder / "cmdline").read_bytes()):
                return Worker(int(folder.name), title[1].decode())
    return None


def worker_of_an_export() -> Worker | None:
    """The same of the files of a finished run."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if b"edgedistill.sweep.export_task" in (folder / "cmdline").read_bytes():
                return worker_of_a_run()
    return None


def notices(output: str, run: str) -> list[str]:
    """Lines about a run; that of its result has how many runs are finished before its name."""
    return [line for line in output.splitlines() if line.startswith(f"{run}: ")]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


@pytest.fixture
def sweep(
    tmp_path: Path, two_nodes: Any, tree_of: Callable[..., dict[str, Any]], private_cache: Path
) -> Sweep:
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tree_of(views={"count": 1})))
    (tmp_path / "grid.toml").write_text(SWEEP)
    return Sweep(tmp_path, two_nodes.address, tmp_path / "cache")


def test_a_sweep_loses_workers_a_node_and_its_driver_but_no_run(
    sweep: Sweep, two_nodes: Any
) -> None:
    first = sweep.on_ray()
    # The caches were complete before any run began.
    os.kill(until(worker_of_a_run, first).pid, signal.SIGKILL)
    finished = until(lambda: sorted(sweep.runs.glob("*/metrics.json")), first)[0]
    two_nodes.lose_second()
    first.kill()
    first.communicate()
    written = finished.stat().st_mtime_ns

    second = sweep.on_ray()
    worker = until(worker_of_an_export, second)
    os.kill(worker.pid, signal.SIGKILL)
    output, _ = second.communicate()
    assert second.returncode == 0, output
    assert notices(output, worker.run)
    assert finished.stat().st_mtime_ns == written

    local = sweep.start("--jobs", "2", out=sweep.folder / "local")
    output, _ = local.communicate()
    assert local.returncode == 0, output
    on_ray, here = (
        rows(folder / "grid" / "results.csv") for folder in (sweep.out, sweep.folder / "local")
    )
    assert len(on_ray) == 2 and {row["status"] for row in on_ray} == {"finished"}
    assert on_ray == here
    files = [folder / "grid" / "files.json" for folder in (sweep.out, sweep.folder / "local")]
    on_ray, here = (json.loads(path.read_text())["files"] for path in files)
    assert len(on_ray) == 2 and on_ray == here
