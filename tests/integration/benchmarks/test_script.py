"""Failures and records of the scripts in benchmarks/."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from culprits import raises

from benchmarks.script import read_record, run_script, whole, wholes
from edgedistill.errors import EdgeDistillError

ROOT = Path(__file__).parents[3]


def test_a_foreseen_failure_is_one_line_and_status_2(tmp_path: Path) -> None:
    script = tmp_path / "measure.py"
    script.write_text(
        "from edgedistill.errors import EdgeDistillError\n"
        "from benchmarks.script import run_script\n"
        "def main():\n"
        "    raise EdgeDistillError('here: something\\nis wrong; do that')\n"
        "run_script(main)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "measure.py: here: something\\nis wrong; do that\n"


def test_success_is_status_0_and_a_mistake_of_ours_stays_one() -> None:
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: None)
    assert ended.value.code == 0
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


def test_a_record_that_is_not_there_or_broken_says_what_measures_it(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with raises(EdgeDistillError, path, "make it"):
        read_record(path, "make it")
    for broken in (b"{", b"\xff"):
        path.write_bytes(broken)
        with raises(EdgeDistillError, path, "make it"):
            read_record(path, "make it")
    path.write_text('{"a": ["ü"]}', encoding="utf-8")
    assert read_record(path, "make it") == {"a": ["ü"]}


def test_numbers_stay_within_their_limits() -> None:
    assert [whole(6, 10)(text) for text in ("6", "10", "007")] == [6, 10, 7]
    assert wholes(1, 4)("1, 4") == [1, 4]
    for text in ("5", "11", "-6", "6.0", "", "x", "٧", "9" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="no whole number from 6 to 10"):
            whole(6, 10)(text)
    with pytest.raises(argparse.ArgumentTypeError):
        wholes(1, 4)("1,,2")
