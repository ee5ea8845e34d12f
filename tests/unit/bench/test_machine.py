"""Description of the machine, from files as Linux on x86 and on Arm writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgedistill._utils.cpus import available_cpus
from edgedistill.bench.machine import Moment, machine, moment

X86 = """processor\t: 0
model name\t: Example(R) CPU @ 2.40GHz
flags\t\t: fpu vme sse avx avx2 avx512f avx512_vnni

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 asimddp
CPU part\t: 0xd0b

Model\t\t: Example Pi 5
"""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
NOTHING = Moment(None, None, None)


def root(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_an_x86_machine(tmp_path: Path) -> None:
    governor = "sys__devices__system__cpu__cpu0__cpufreq__scaling_governor"
    place = root(tmp_path, proc__cpuinfo=X86, **{governor: "powersave\n"})
    description = machine(Moment(0.5, 1000, 10), Moment(1.5, 3000, 110), NOW, place)
    assert description["cpu"] == "Example(R) CPU @ 2.40GHz"
    assert description["flags"] == ["avx", "avx2", "avx512f", "avx512_vnni"]
    assert description["governor"] == "powersave"
    assert (description["load_before"], description["load_after"]) == (0.5, 1.5)
    assert description["steal"] == pytest.approx(0.05)
    assert description["date"] == "2026-01-02T02:04:05+00:00"


def test_an_arm_machine(tmp_path: Path) -> None:
    description = machine(NOTHING, NOTHING, NOW, root(tmp_path, proc__cpuinfo=ARM))
    assert (description["cpu"], description["flags"]) == ("Example Pi 5", ["asimd", "asimddp"])


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    before = moment(tmp_path)
    assert (before.ticks, before.stolen) == (None, None)
    description = machine(NOTHING, NOTHING, datetime.now(UTC), tmp_path)
    unknown = ("governor", "steal", "load_before", "load_after")
    assert [description[key] for key in unknown] == [None] * 4  # type: ignore[literal-required]
    assert description["cpu"] and description["cores"] == available_cpus() >= 1


@pytest.mark.parametrize("text", ["", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9"])
def test_a_foreign_stat_file(text: str, tmp_path: Path) -> None:
    assert moment(root(tmp_path, proc__stat=text)).ticks is None


def test_stolen_time_is_the_eighth_number_and_guests_are_not_counted_twice(tmp_path: Path) -> None:
    text = "cpu  1 2 3 4 5 6 7 80 900 900\ncpu0 1 2 3 4 5 6 7 8 9 9\n"
    sample = moment(root(tmp_path, proc__stat=text))
    assert (sample.ticks, sample.stolen) == (108, 80)
