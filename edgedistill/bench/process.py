"""Cold starts: seconds and memory of fresh processes until their first answer."""

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import edgedistill
from edgedistill.bench.result import ColdStart
from edgedistill.errors import BenchError

_MODULE = "edgedistill.bench.first_answer"
# Far longer than any model takes; a provider that hangs would hang all of it.
LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class Start:
    """A cold start.

    seconds: wall-clock time until the answer. user_s: user CPU time until then. peak_bytes: peak
    resident memory, None where the system has no such figure.
    """

    seconds: float
    user_s: float
    peak_bytes: int | None


def start(
    model: Path,
    image: Path,
    threads: int,
    providers: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
    limit: float = LIMIT_SECONDS,
) -> Start:
    """Start Python, load the model, answer one image file.

    Args:
        model, image: files.
        threads: of onnxruntime.
        providers: onnxruntime execution providers.
        clock: seconds.
        limit: seconds after which the process is killed.

    Raises:
        BenchError: it does not answer, with its last line on stderr, or not within `limit`.
    """
    command = [sys.executable, "-P", "-m", _MODULE, str(model), str(image), str(threads)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    root = str(Path(edgedistill.__file__).parents[1])
    # -P keeps files of the current folder from being imported, and with them a checkout that is
    # not installed.
    if root not in sysconfig.get_paths().values():
        paths = (root, os.environ.get("PYTHONPATH"))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    begin = clock()
    process = subprocess.Popen(
        [*command, *providers],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    # Reading a pipe has no time limit of its own that works everywhere.
    overdue = threading.Event()

    def end() -> None:
        overdue.set()
        process.kill()

    late = threading.Timer(limit, end)
    late.daemon = True
    late.start()
    try:
        assert process.stdout is not None
        answer = process.stdout.readline()
        seconds = clock() - begin
        _, stderr = process.communicate()
    finally:
        late.cancel()
        process.kill()
        process.wait()
    if overdue.is_set():
        raise BenchError(
            f"{model}: a fresh process did not answer within {limit:g} s; close other programs, or "
            "try edgedistill predict"
        )
    if process.returncode or not answer:
        lines = stderr.decode(errors="replace").split("\n")
        why = next((line for line in reversed(lines) if line.strip()), "without a message")
        # Messages of the runtime have advice of their own.
        advice = (
            "" if process.returncode == 2 else "; close other programs, or try edgedistill predict"
        )
        raise BenchError(
            f"{model}: a fresh process ended with status {process.returncode} instead of "
            f"answering ({why.strip()}){advice}"
        )
    usage = json.loads(answer)
    return Start(seconds, usage["user_s"], usage["peak_bytes"])


def cold_start(starts: Sequence[Start]) -> ColdStart:
    """Summarise one or more starts."""
    return ColdStart(
        median_s=statistics.median(s.seconds for s in starts),
        values_s=[s.seconds for s in starts],
        user_cpu_s=statistics.median(s.user_s for s in starts),
    )


def peak_memory(starts: Sequence[Start]) -> int | None:
    """Median over starts, bytes; None where the system has no such figure."""
    peaks = [s.peak_bytes for s in starts if s.peak_bytes is not None]
    return int(statistics.median(peaks)) if peaks else None
