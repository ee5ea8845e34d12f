"""The terminal's callback: all of it on stderr, none of it when quiet."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from edgedistill._utils.console import ConsoleCallback
from edgedistill.callbacks import Callback, CallbackList, GpuUse, RunEnd, TrainingStep, Validation


def work(callback: Callback) -> None:
    callbacks = CallbackList([callback])
    callbacks.on_note("begun")
    callbacks.on_warning("careful")
    with callbacks.progress("sorting", "images") as update:
        for done in range(1, 101):
            update(done, 100, "detail")


def train(callback: Callback, steps: int) -> None:
    for step in range(1, steps + 1):
        if step == 2:
            callback.on_validation(Validation(step, 4, {"val_accuracy": 0.75}, {"step": step}))
        callback.on_step(TrainingStep(step, 4, 10.0, {"loss": 0.5}))


def test_a_log_says_that_work_began_and_ended(capsys: pytest.CaptureFixture[str]) -> None:
    work(ConsoleCallback())
    out, err = capsys.readouterr()
    assert out == ""
    begun, warned, *lines = err.splitlines()
    assert (begun, warned) == ("begun", "warning: careful")
    assert lines[0] == "sorting 1/100 detail" and lines[-1] == "sorting 100/100 detail"
    assert len(lines) <= 11


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    work(ConsoleCallback(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_a_log_of_training_shows_the_latest_validation(capsys: pytest.CaptureFixture[str]) -> None:
    train(ConsoleCallback(), 4)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "training 1/4 10 images/s loss 0.500"
    assert last == "training 4/4 10 images/s loss 0.500 val 75.0%"


@pytest.mark.parametrize(
    ("utilization", "shown"), [(0.93, "GPU 93% 10.0/80.0 GiB"), (None, "GPU 10.0/80.0 GiB")]
)
def test_training_on_a_gpu_shows_its_use(
    utilization: float | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = GpuUse(10 * 2**30, 80 * 2**30, utilization)
    ConsoleCallback().on_step(TrainingStep(4, 4, 10.0, {"loss": 0.5}, gpu))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"training 4/4 10 images/s {shown} loss 0.500"


@pytest.mark.parametrize("steps", [2, 4])
def test_no_bar_outlives_a_run(tmp_path: Path, steps: int) -> None:
    screen = io.StringIO()
    callback = ConsoleCallback(console=Console(file=screen, force_terminal=True, width=80))
    train(callback, steps)
    work(callback)
    callback.on_end(RunEnd(tmp_path, "failed"))
    drawn = screen.getvalue()
    assert "training" in drawn and "sorting" in drawn
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert drawn.count(hide) == drawn.count(show) > 0


def test_names_in_brackets_and_colons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console = ConsoleCallback()
    console.on_note("disc [old] :cat: [/]")
    console.on_warning("[red]a\nb")
    assert capsys.readouterr().err.splitlines() == [
        "disc [old] :cat: [/]",
        r"warning: [red]a\nb",
    ]


def test_the_bar_of_work_with_a_name_in_brackets_shows_it() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with CallbackList([ConsoleCallback(console=console)]).progress("[/] [old]", "images") as update:
        update(1, 2, "")
    assert "[/] [old]" in console.file.getvalue()  # type: ignore[attr-defined]
