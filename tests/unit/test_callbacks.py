"""Callbacks: who hears of what, in which order, and until when."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgedistill import callbacks
from edgedistill.callbacks import (
    Callback,
    CallbackList,
    LoggingCallback,
    Progress,
    RunEnd,
    Stage,
    TrainingStep,
    Validation,
)

STEP = TrainingStep(3, 6, 20.0, {"loss": 0.25})
VALIDATION = Validation(3, 6, {"val_accuracy": 0.5}, {"step": 3})


class Recorder(Callback):
    """Keeps the name of every method called, with what it was given."""

    def __init__(self, calls: list[tuple[str, object]] | None = None) -> None:
        self.calls: list[tuple[str, object]] = [] if calls is None else calls

    def on_stage(self, stage: Stage) -> None:
        self.calls.append(("stage", stage))

    def on_progress(self, progress: Progress) -> None:
        self.calls.append(("progress", progress))

    def on_note(self, message: str) -> None:
        self.calls.append(("note", message))

    def on_warning(self, message: str) -> None:
        self.calls.append(("warning", message))

    def on_step(self, step: TrainingStep) -> None:
        self.calls.append(("step", step))

    def on_validation(self, validation: Validation) -> None:
        self.calls.append(("validation", validation))

    def on_end(self, end: RunEnd) -> None:
        self.calls.append(("end", end))


def call_all(callback: Callback, end: RunEnd) -> list[tuple[str, object]]:
    """Call every method once; returns the calls."""
    progress = Progress("decoding", "images", 1, 2)
    callback.on_stage(Stage.TRAIN)
    callback.on_progress(progress)
    callback.on_note("begun")
    callback.on_warning("careful")
    callback.on_validation(VALIDATION)
    callback.on_step(STEP)
    callback.on_end(end)
    return [
        ("stage", Stage.TRAIN),
        ("progress", progress),
        ("note", "begun"),
        ("warning", "careful"),
        ("validation", VALIDATION),
        ("step", STEP),
        ("end", end),
    ]


def test_a_list_calls_all_of_its_callbacks(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    calls = call_all(CallbackList([first, Callback(), second]), RunEnd(tmp_path, "finished"))
    assert first.calls == second.calls == calls


def test_progress_ends_even_when_the_work_fails() -> None:
    recorder = Recorder()
    work = CallbackList([recorder]).progress("sorting", "images")
    with pytest.raises(ZeroDivisionError), work as update:
        update(1, 4, "first")
        _ = 1 / 0
    assert recorder.calls == [
        ("progress", Progress("sorting", "images", 1, 4, "first")),
        ("progress", Progress("sorting", "images", 1, 4, "first", ended=True)),
    ]


def test_registered_callbacks_come_first_and_once() -> None:
    order: list[tuple[str, object]] = []
    registered, given = Recorder(order), Recorder()
    callbacks.register(registered)
    try:
        with callbacks.reporting([given, registered]) as active:
            assert callbacks.current() is active
            assert active.callbacks == (registered, given)
        assert registered in callbacks.current().callbacks
    finally:
        callbacks.unregister(registered)
    assert registered not in callbacks.current().callbacks
    with pytest.raises(ValueError):
        callbacks.unregister(registered)


def test_work_within_work_has_its_own_callbacks() -> None:
    outer, inner = Recorder(), Recorder()
    with callbacks.reporting([outer]):
        with callbacks.reporting([inner]):
            callbacks.current().on_note("inside")
        callbacks.current().on_note("outside")
    assert (inner.calls, outer.calls) == ([("note", "inside")], [("note", "outside")])


def test_logging_has_a_level_for_each_kind(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG, logger="edgedistill"):
        call_all(LoggingCallback(every=0), RunEnd(tmp_path, "failed", error=OSError("disk full")))
    levels = [record.levelname for record in caplog.records]
    assert levels == ["INFO", "DEBUG", "INFO", "WARNING", "INFO", "DEBUG", "ERROR"]
    assert "0.5000" in caplog.text and "disk full" in caplog.text


def test_logging_is_not_flooded_by_steps(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("mine")
    callback = LoggingCallback(logger, every=3600)
    with caplog.at_level(logging.DEBUG, logger="mine"):
        for _ in range(50):
            callback.on_step(STEP)
    assert [record.name for record in caplog.records] == ["mine"]
