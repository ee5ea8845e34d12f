"""Facts about the machine of a benchmark, and its load meanwhile."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy
import onnxruntime

from edgedistill import __version__
from edgedistill._utils.cpus import available_cpus
from edgedistill.bench.result import Machine

# CPU flags that decide which of onnxruntime's kernels run: vectors and integer products.
_DECISIVE = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "avx_vnni", "amx_int8", "amx_tile"),
    *("neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2"),
)
_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_ROOT = Path("/")


class Moment(NamedTuple):
    """Load of the machine at a moment.

    load: 1-minute average. ticks, stolen: CPU time of the whole machine since it started, and the
    part of it that a hypervisor gave to others, in clock ticks. None where the system has no such
    figure.
    """

    load: float | None
    ticks: int | None
    stolen: int | None


def moment(root: Path = _ROOT) -> Moment:
    """The current load; `root` is the folder that /proc lies in."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        load = None
    # user nice system idle iowait irq softirq steal
    head = (_read(root / "proc/stat") or "").partition("\n")[0].split()
    if len(head) < 9 or head[0] != "cpu":
        return Moment(load, None, None)
    ticks = [int(value) for value in head[1:9]]
    return Moment(load, sum(ticks), ticks[7])


def machine(before: Moment, after: Moment, date: datetime, root: Path = _ROOT) -> Machine:
    """CPU, load and software versions of this machine.

    Args:
        before, after: moments around the measurement.
        date: of its beginning, UTC.
        root: folder that /proc and /sys lie in.
    """
    name, flags = _processor(_read(root / "proc/cpuinfo") or "")
    governor = _read(root / _GOVERNOR)
    return Machine(
        cpu=name or platform.processor() or "unknown",
        arch=platform.machine(),
        cores=available_cpus(),
        flags=[flag for flag in _DECISIVE if flag in flags],
        governor=governor.strip() if governor else None,
        load_before=before.load,
        load_after=after.load,
        steal=_steal(before, after),
        os=platform.platform(),
        python=platform.python_version(),
        numpy=numpy.__version__,
        onnxruntime=onnxruntime.__version__,
        edgedistill=__version__,
        date=date.astimezone(UTC).isoformat(timespec="seconds"),
    )


def _processor(cpuinfo: str) -> tuple[str, frozenset[str]]:
    """Model name and flags of the first processor, x86 or Arm."""
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or fields.get("hardware") or fields.get("model") or ""
    return name, frozenset((fields.get("flags") or fields.get("features") or "").split())


def _steal(before: Moment, after: Moment) -> float | None:
    if before.ticks is None or after.ticks is None or after.ticks <= before.ticks:
        return None
    return ((after.stolen or 0) - (before.stolen or 0)) / (after.ticks - before.ticks)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
