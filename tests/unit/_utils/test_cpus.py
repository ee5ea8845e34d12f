"""CPU count of a process in a container: affinity and cgroup quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedistill._utils.cpus import available_cpus


@pytest.fixture(autouse=True)
def sixteen_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_affinity_counts_where_there_are_no_cgroups(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 16


@pytest.mark.parametrize(
    ("cpu_max", "cpus"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("6400000 100000\n", 16),
        ("garbage\n", 16),
        ("", 16),
    ],
)
def test_a_quota_of_cgroup_version_2(tmp_path: Path, cpu_max: str, cpus: int) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": cpu_max}
    assert available_cpus(machine(tmp_path, files)) == cpus


def test_the_strictest_enclosing_group_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/jobs/mine\n",
        "sys/fs/cgroup/jobs/mine/cpu.max": "max 100000\n",
        "sys/fs/cgroup/jobs/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/cpu.max": "800000 100000\n",
    }
    assert available_cpus(machine(tmp_path, files)) == 3


@pytest.mark.parametrize(("quota", "cpus"), [("-1\n", 16), ("400000\n", 4)])
def test_a_quota_of_cgroup_version_1(tmp_path: Path, quota: str, cpus: int) -> None:
    files = {
        # In a container the path is the host's, which is not mounted there.
        "proc/self/cgroup": "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    }
    assert available_cpus(machine(tmp_path, files)) == cpus
