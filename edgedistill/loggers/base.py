"""The interface of a logger: curves by step, settings at the start, results at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedistill import callbacks
from edgedistill.callbacks import Callback, RunEnd, Stage, TrainingStep, Validation
from edgedistill.errors import EdgeDistillError
from edgedistill.recipe.schema import LogSection


class Logger(Callback, ABC):
    """Callback that writes a run's numbers to one tracker.

    It opens the tracker when the run's first stage begins, so that a finished run opens none. What
    the tracker raises after that is one warning, and nothing more is sent: the run goes on.

    Args:
        folder: the run folder; its name is the run's name in the tracker.
        settings: the recipe as nested dictionaries.
        section: the recipe's section [log].
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], section: LogSection) -> None:
        self.folder = folder
        self.settings = settings
        self.section = section
        self._sending = False

    @abstractmethod
    def open(self) -> None:
        """Open the tracker, or go on in the run that an earlier start opened.

        Raises MissingPackageError without the tracker's package, RecipeError where it refuses.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send values of one step, by name; a step of a resumed run may come a second time."""

    @abstractmethod
    def close(self, end: RunEnd, results: Mapping[str, float]) -> None:
        """Send the numbers of metrics.json, by dotted name, and close; `results` may be empty."""

    def on_stage(self, stage: Stage) -> None:
        if stage is Stage.PREPARE:
            self.open()
            self._sending = True

    def on_step(self, step: TrainingStep) -> None:
        if step.step % self.section.every and step.step < step.total:
            return
        values = {f"train/{name}": value for name, value in step.losses.items()}
        values["images_per_second"] = step.images_per_second
        if step.gpu:
            values["gpu/memory"] = step.gpu.memory
            if step.gpu.utilization is not None:
                values["gpu/utilization"] = step.gpu.utilization
        self._log(step.step, values)

    def on_validation(self, validation: Validation) -> None:
        values = {
            f"val/{name.removeprefix('val_')}": value for name, value in validation.figures.items()
        }
        values["train/lr"] = validation.row["lr"]
        self._log(validation.step, values)

    def on_end(self, end: RunEnd) -> None:
        with self._warning():
            if self._sending:
                self.close(end, dict(numbers(end.metrics or {})))
        self._sending = False

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        with self._warning():
            if self._sending:
                self.log(step, values)

    @contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except EdgeDistillError:
            raise
        except Exception as error:
            self._sending = False
            reason = " ".join(str(error).split()) or type(error).__name__
            callbacks.current().on_warning(
                f"log.to: {type(self).__name__} ended ({reason[:200]}); the run goes on"
            )


def numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Dotted names and values of the numbers in nested dictionaries; lists are left out."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of the leaves of nested dictionaries."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
