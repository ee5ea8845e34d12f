"""Callbacks: objects that hear of a run's stages, progress, validations and end while it works.

Derive from `Callback`, override what you want to hear of, and pass the object to a function of the
API (`edgedistill.run(..., callbacks=[MyCallback()])`) or `register` it for all work of the process:

    class Losses(Callback):
        def on_step(self, step):
            print(step.step, step.losses["loss"])

Callbacks are called in the thread that works, in process 0 of a distributed run only, in the order
they were given, registered ones first. What a callback raises ends the work and reaches the caller.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol


class Stage(StrEnum):
    """The stages of a run, in their order."""

    PREPARE = "prepare"
    TEACH = "teach"
    TRAIN = "train"
    CALIBRATE = "calibrate"
    EVALUATE = "evaluate"
    REPORT = "report"


@dataclass(frozen=True)
class Progress:
    """The progress of one piece of work.

    Attributes:
        name: the work: "teacher views", "decoding at 128 px".
        unit: what is counted: "images".
        done, total: `done` of `total` units; both 0 when the work ended before its first unit.
        detail: a remark on this moment, may be empty.
        ended: the last report of this work, complete or not.
    """

    name: str
    unit: str
    done: int
    total: int
    detail: str = ""
    ended: bool = False


@dataclass(frozen=True)
class GpuUse:
    """What a GPU is doing, other processes' work on it counted in.

    Attributes:
        memory, total: bytes in use, and bytes that it has.
        utilization: share of the last moments in which it worked, in [0, 1]; None where
            `nvidia-ml-py` is not installed.
    """

    memory: int
    total: int
    utilization: float | None = None


@dataclass(frozen=True)
class TrainingStep:
    """A moment of training.

    Attributes:
        step, total: steps done, of those that the recipe asks for.
        images_per_second: mean over the run, earlier starts counted in.
        losses: loss terms by name ("loss" is their weighted sum), means since the last validation.
        gpu: use of the GPU that trains; None on another device.
    """

    step: int
    total: int
    images_per_second: float
    losses: Mapping[str, float]
    gpu: GpuUse | None = None


@dataclass(frozen=True)
class Validation:
    """A validation while training.

    Attributes:
        step, total: as in `TrainingStep`.
        figures: what was measured, by its name in history.csv: "val_accuracy", the closed-set
            accuracy on source images as a share in [0, 1], mean over the source domains.
        row: the line of history.csv: step, lr, loss terms and the figures.
    """

    step: int
    total: int
    figures: Mapping[str, float]
    row: Mapping[str, float]

    @property
    def accuracy(self) -> float | None:
        """The accuracy among the figures, None where there is none."""
        return self.figures.get("val_accuracy")


@dataclass(frozen=True)
class RunEnd:
    """The end of a run: its outcome and results.

    Attributes:
        path: the run folder.
        status: "finished" also when an earlier start had finished the run; "stopped" by Ctrl-C or
            SIGTERM, to go on later; "failed" with an error.
        metrics: metrics.json of a finished run, else None.
        error: what was raised, None for a finished run.
    """

    path: Path
    status: Literal["finished", "stopped", "failed"]
    metrics: Mapping[str, Any] | None = None
    error: BaseException | None = None


class Callback:
    """Base of callbacks; every method does nothing until it is overridden."""

    def on_stage(self, stage: Stage) -> None:
        """A stage of a run begins."""

    def on_progress(self, progress: Progress) -> None:
        """Work other than training advanced, or ended."""

    def on_note(self, message: str) -> None:
        """Something worth knowing, in one line."""

    def on_warning(self, message: str) -> None:
        """Something that a person should look at, in one line; the work goes on."""

    def on_step(self, step: TrainingStep) -> None:
        """A training step is done; on an accelerator every tenth one, so that it need not wait."""

    def on_validation(self, validation: Validation) -> None:
        """The student was validated; comes before `on_step` of the same step."""

    def on_end(self, end: RunEnd) -> None:
        """A run ended, however it ended. Other work than runs has no end to report."""


class Update(Protocol):
    """Reports `done` of `total` units, see `CallbackList.progress`."""

    def __call__(self, done: int, total: int, detail: str = "") -> None: ...


class CallbackList(Callback):
    """Several callbacks as one, called in their order."""

    def __init__(self, callbacks: Iterable[Callback] = ()) -> None:
        self.callbacks = tuple(callbacks)

    @contextmanager
    def progress(self, name: str, unit: str) -> Iterator[Update]:
        """Report the progress of a piece of work; its end is reported as the block is left."""
        latest = Progress(name, unit, 0, 0)

        def update(done: int, total: int, detail: str = "") -> None:
            nonlocal latest
            latest = Progress(name, unit, done, total, detail)
            self.on_progress(latest)

        try:
            yield update
        finally:
            self.on_progress(
                Progress(name, unit, latest.done, latest.total, latest.detail, ended=True)
            )

    def on_stage(self, stage: Stage) -> None:
        for callback in self.callbacks:
            callback.on_stage(stage)

    def on_progress(self, progress: Progress) -> None:
        for callback in self.callbacks:
            callback.on_progress(progress)

    def on_note(self, message: str) -> None:
        for callback in self.callbacks:
            callback.on_note(message)

    def on_warning(self, message: str) -> None:
        for callback in self.callbacks:
            callback.on_warning(message)

    def on_step(self, step: TrainingStep) -> None:
        for callback in self.callbacks:
            callback.on_step(step)

    def on_validation(self, validation: Validation) -> None:
        for callback in self.callbacks:
            callback.on_validation(validation)

    def on_end(self, end: RunEnd) -> None:
        for callback in self.callbacks:
            callback.on_end(end)


class LoggingCallback(Callback):
    """Reports to the standard library's `logging`, logger "edgedistill" unless another is given.

    Stages, notes, validations and ends are INFO, warnings WARNING, failures ERROR; steps and other
    progress are DEBUG, at most one line every `every` seconds.
    """

    def __init__(self, logger: logging.Logger | None = None, every: float = 10.0) -> None:
        self._logger = logger or logging.getLogger("edgedistill")
        self._every = every
        self._latest = -every

    def on_stage(self, stage: Stage) -> None:
        self._logger.info("stage %s", stage)

    def on_progress(self, progress: Progress) -> None:
        if progress.total and (progress.ended or self._is_due()):
            self._logger.debug(
                "%s: %d of %d %s", progress.name, progress.done, progress.total, progress.unit
            )

    def on_note(self, message: str) -> None:
        self._logger.info("%s", message)

    def on_warning(self, message: str) -> None:
        self._logger.warning("%s", message)

    def on_step(self, step: TrainingStep) -> None:
        if self._is_due():
            losses = ", ".join(f"{name} {value:.4g}" for name, value in step.losses.items())
            self._logger.debug(
                "step %d of %d: %.0f images/s, %s",
                step.step,
                step.total,
                step.images_per_second,
                losses,
            )

    def on_validation(self, validation: Validation) -> None:
        figures = ", ".join(f"{name} {value:.4f}" for name, value in validation.figures.items())
        self._logger.info("step %d of %d: %s", validation.step, validation.total, figures)

    def on_end(self, end: RunEnd) -> None:
        level = logging.ERROR if end.status == "failed" else logging.INFO
        because = f": {end.error}" if end.error else ""
        self._logger.log(level, "%s: %s%s", end.path, end.status, because)

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._latest < self._every:
            return False
        self._latest = now
        return True


_registered: list[Callback] = []
_active: ContextVar[CallbackList] = ContextVar("callbacks")


def register(callback: Callback) -> None:
    """Call `callback` in all work of this process that begins from now on, until `unregister`."""
    _registered.append(callback)


def unregister(callback: Callback) -> None:
    """Take back a `register`. Raises ValueError when `callback` is not registered."""
    _registered.remove(callback)


@contextmanager
def reporting(callbacks: Iterable[Callback], muted: bool = False) -> Iterator[CallbackList]:
    """Inside the block, `current` gives the registered callbacks and then these, each once.

    Nobody hears of the work when it is `muted`: it is another process's to report.
    """
    active = CallbackList(() if muted else dict.fromkeys((*_registered, *callbacks)))
    token = _active.set(active)
    try:
        yield active
    finally:
        _active.reset(token)


def current() -> CallbackList:
    """The callbacks of the work that this is called in, for code far below a command.

    Outside of such work, the registered ones and a `LoggingCallback`.
    """
    active = _active.get(None)
    return CallbackList((*_registered, LoggingCallback())) if active is None else active
