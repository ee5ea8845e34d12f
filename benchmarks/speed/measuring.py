"""Interleaved timing: what is compared takes turns, so that a slow minute hits every side alike."""

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


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
    found = [a / b for a, b in zip(times, base, strict=True)]
    return {"median": median(found), "low": min(found), "high": max(found)}


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were taken on. A load above the number of cores says: not alone."""
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


def record(path: Path, device: torch.device, settings: Mapping[str, Any], results: object) -> None:
    """Write results as JSON, with what they were taken on and with."""
    content = {"machine": machine(device), "settings": dict(settings), "results": results}
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row))
    Console(width=160).print(table)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.partition(":")[2].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
