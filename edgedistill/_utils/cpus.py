"""Number of CPUs that this process may use: its affinity and the CPU quota of its cgroup."""

import math
import os
from pathlib import Path, PurePosixPath


def available_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use, at least 1; a quota of a part of a CPU is rounded up.

    A container of 2 CPUs on a host of 64 sees all 64 in `os.cpu_count()`.

    Args:
        root: the folder below which `proc` and `sys` lie.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota(root: Path) -> float | None:
    """CPUs' worth of time that the strictest enclosing cgroup grants, None without a limit."""
    quotas = []
    mounts = root / "sys/fs/cgroup"
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 lists no controllers, version 1 mounts each below its name.
        mount = mounts / "cpu" if controllers else mounts
        inside = PurePosixPath(path.lstrip("/"))
        for group in (inside, *inside.parents):
            quota = _quota_of_v1(mount / group) if controllers else _quota_of_v2(mount / group)
            if quota is not None:
                quotas.append(quota)
    return min(quotas, default=None)


def _quota_of_v2(group: Path) -> float | None:
    quota, period = (*(_read(group / "cpu.max") or "").split(), "", "")[:2]
    return _ratio(quota, period)


def _quota_of_v1(group: Path) -> float | None:
    quota, period = (_read(group / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
    return _ratio(quota, period)


def _ratio(quota: str, period: str) -> float | None:
    """None for "max" (version 2) and -1 (version 1), which stand for no limit."""
    try:
        microseconds, of = int(quota), int(period)
    except ValueError:
        return None
    return microseconds / of if microseconds > 0 and of > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
