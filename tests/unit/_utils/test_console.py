"""Notes and progress: all of it on stderr, none of it when quiet."""

from __future__ import annotations

import pytest

from edgedistill._utils.console import Display, current_display


def work(display: Display) -> None:
    display.note("begun")
    display.warn("careful")
    with display.bar("sorting", "images") as bar:
        for done in range(1, 101):
            bar(done, 100, "detail")


def test_a_log_says_that_work_began_and_ended(capsys: pytest.CaptureFixture[str]) -> None:
    work(Display())
    out, err = capsys.readouterr()
    assert out == ""
    begun, warned, *lines = err.splitlines()
    assert (begun, warned) == ("begun", "warning: careful")
    assert lines[0] == "sorting 1/100 detail" and lines[-1] == "sorting 100/100 detail"
    assert len(lines) <= 11


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    work(Display(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_work_below_a_command_reports_to_its_display() -> None:
    quiet = Display(quiet=True)
    with quiet.active():
        assert current_display() is quiet
    assert current_display() is not quiet
