"""A program is asked to save when its parent dies, and is otherwise started as it is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedistill.sweep import pdeathsig

PROGRAMS = Path(__file__).with_name("programs")
PARENT = (sys.executable, "-S", PROGRAMS / "start_session.py")
START = (sys.executable, "-S", pdeathsig.__file__, sys.executable, "-S")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
def test_it_saves_when_its_parent_is_killed(tmp_path: Path) -> None:
    command = (*PARENT, *START, PROGRAMS / "endless.py", tmp_path)
    with subprocess.Popen(command) as parent:
        while not (tmp_path / "started").exists():
            time.sleep(0.01)
        parent.kill()
    while not (tmp_path / "saved").exists():
        time.sleep(0.01)


def test_arguments_output_and_status_are_the_programs() -> None:
    command = (*START, PROGRAMS / "print_arguments.py", "a b")
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (7, "['a b']\n")
