"""A process that imports the package once and forks for each command, see `conftest.py`.

It reads requests as lines of JSON and answers each with a line: the id of the process that a
command became, or the exit status that one ended with.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import preload  # noqa: F401

from edgedistill import callbacks
from edgedistill.callbacks import Callback, Progress, RunEnd, Stage, TrainingStep, Validation
from edgedistill.cli.app import main

FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


class Watch(Callback):
    """Tells of the moments of a command: what its callbacks hear, and what happens to files.

    Attributes:
        stage: that the run is in; "" outside of one.
    """

    def __init__(self) -> None:
        self.stage = ""
        self._moments: list[tuple[str, str, str, Callable[[], None]]] = []
        callbacks.register(self)
        sys.addaudithook(self._audit)

    def add(self, kind: str, path: str, stage: str, reached: Callable[[], None]) -> None:
        """Call `reached` at moments of a kind ("file" or "callback") and stage ("": any).

        Of kind "file" only those with `path` in the name of a file.
        """
        self._moments.append((kind, path, stage, reached))

    def on_stage(self, stage: Stage) -> None:
        self.stage = stage.value
        self._reach("callback")

    def on_progress(self, progress: Progress) -> None:
        self._reach("callback")

    def on_note(self, message: str) -> None:
        self._reach("callback")

    def on_step(self, step: TrainingStep) -> None:
        self._reach("callback")

    def on_validation(self, validation: Validation) -> None:
        self._reach("callback")

    def on_end(self, end: RunEnd) -> None:
        self.stage = ""

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in FILE_EVENTS:
            self._reach("file", [str(arg) for arg in args])

    def _reach(self, kind: str, names: list[str] | None = None) -> None:
        for wanted, path, stage, reached in self._moments:
            here = wanted == kind and stage in ("", self.stage)
            if here and (names is None or any(path in name for name in names)):
                reached()


def arm(
    watch: Watch, signal: int, mark: str | None, nth: int, kind: str, path: str, stage: str
) -> None:
    """Have the command send itself a signal at the nth moment of a kind."""
    left = nth

    def reached() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            if mark:
                Path(mark).write_text(watch.stage)
            os.kill(os.getpid(), signal)

    watch.add(kind, path, stage, reached)


def count(watch: Watch, moments: list[tuple[str, str, str]]) -> list[int]:
    """How many moments of each kind, path and stage there were; counted in place."""
    counts = [0] * len(moments)

    def counter(number: int) -> Callable[[], None]:
        def reached() -> None:
            counts[number] += 1

        return reached

    for number, (kind, path, stage) in enumerate(moments):
        watch.add(kind, path, stage, counter(number))
    return counts


def run(request: dict[str, Any]) -> int:
    """The command of a request, in a process of its own; its exit status."""
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    for number, path in ((1, request["out"]), (2, request["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    if request["max_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file"],) * 2)
    counts: list[int] = []
    if request["at"] or request["count"]:
        watch = Watch()
        if request["at"]:
            arm(watch, *request["at"])
        counts = count(watch, request["count"])
    sys.argv = ["edgedistill", *request["args"]]
    status: Any = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if counts:
        print(json.dumps(counts), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        status = 120
    sys.stderr.flush()
    return status or 0


def serve() -> None:
    """Answer requests until stdin is closed."""
    ended: dict[int, int] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid = request["wait"]
            if pid not in ended:
                ended_pid, status = os.waitpid(pid, request["flags"])
                if ended_pid:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            print(ended.get(pid, ""), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os._exit(run(request))
        print(pid, flush=True)


if __name__ == "__main__":
    serve()
