"""Interleaved timing: the sides of a comparison take turns, so that a slow minute hits all."""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.speed.tables import Shown, show


def interleaved(
    jobs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    *,
    warm_up: int = 1,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every job in every round, after `warm_up` rounds that do not count.

    A round runs each job once; who goes first changes from round to round. What `before` has for
    a job is run before each of its turns, and is not timed.
    """
    names = list(jobs)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if before and name in before:
                before[name]()
            _wait(device)
            start = time.perf_counter()
            jobs[name]()
            _wait(device)
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(times: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of the ratio of two jobs within a round."""
    ratios = [a / b for a, b in zip(times, base, strict=True)]
    return {"median": median(ratios), "low": min(ratios), "high": max(ratios)}


def machine(device: torch.device) -> dict[str, Any]:
    """Machine of a measurement. A load above the number of cores means that others were at work."""
    cuda = device.type == "cuda"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit(checkout: Path) -> str | None:
    """The commit of a checkout, "-dirty" behind it where files differ; None where there is none."""
    asked = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        process = subprocess.run(asked, capture_output=True, text=True)
    except OSError:
        return None
    return process.stdout.strip() or None


def record(
    path: Path,
    device: torch.device,
    settings: Mapping[str, Any],
    results: object,
    tables: Sequence[Shown],
) -> None:
    """Write results as JSON, with the command, commit, machine and settings they were taken with.

    Paths among the settings are left out, and in the command only their last parts are kept: they
    mean nothing elsewhere.
    """
    plain = {k: v for k, v in settings.items() if not isinstance(v, Path)}
    content = {
        "command": _command(),
        "commit": commit(Path(__file__).parent),
        "machine": machine(device),
        "settings": plain,
        "tables": [asdict(table) for table in tables],
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measure_students(
    options: argparse.Namespace,
    device: torch.device,
    measure: Callable[[str], Mapping[str, Mapping[str, Any]]],
    *,
    title: str,
    columns: Sequence[str],
) -> None:
    """Measure `options.students` in turn and show a table; recorded after every one of them.

    `measure(student)` gives for each way its `seconds` and, under one more key, its `ratios`.
    Whoever stops early has whole students.
    """
    results, rows = {}, []
    for student in options.students:
        results[student] = measure(student)
        for name, timing in results[student].items():
            seconds, ratio = timing.values()
            rows.append([student, name, seconds, *ratio.values()])
        shown = Shown(title, columns, rows)
        record(options.out, device, vars(options), results, [shown])
    show(shown)


def _command() -> str:
    """Command line of the script, without the folders it wrote to."""
    words = list(sys.argv[1:])
    for option in ("--out", "--runs"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    words = [Path(word).name if Path(word).is_absolute() else word for word in words]
    return shlex.join(["python", f"benchmarks/speed/{Path(sys.argv[0]).name}", *words])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
