"""FOLDER ERRNO: locks a file where `flock` fails with this number; prints warnings and answers."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from pathlib import Path

from edgedistill import callbacks
from edgedistill._utils.locks import is_locked, lock
from edgedistill.errors import CacheError


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


def missing(*args: object) -> None:
    raise OSError(code, os.strerror(code))


def held(wait: bool = True) -> bool:
    with lock(path, CacheError, "choose another folder", wait=wait) as held:
        return held


path, code = Path(sys.argv[1], ".lock"), int(sys.argv[2])
fcntl.flock = missing
recorder = Recorder()
answers = {}
with callbacks.reporting([recorder]):
    with lock(path, CacheError, "choose another folder") as first:
        answers["first"] = first
        answers["second"] = held(wait=False)
        answers["locked while held"] = is_locked(path)
    answers["locked afterwards"] = is_locked(path)
    child = os.fork()
    if child == 0:
        with lock(path, CacheError, "choose another folder"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    answers["after a killed holder"] = held(wait=False)
print(json.dumps({"answers": answers, "warnings": recorder.warnings}))
