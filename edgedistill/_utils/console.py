"""The terminal's callback: notes, and progress bars with rate and time left."""

import time
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from edgedistill import callbacks
from edgedistill._utils.printable import printable

# Between two lines about the same work in a log.
_QUIET_SECONDS = 1.0
_TRAINING = "training"


class _TwoLines(Progress):
    """A bar with its details below it, cut at the width of the terminal instead of wrapped."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.visible and task.fields["detail"]:
                detail = f"  {task.fields['detail']}"
                yield Text(detail, style="dim", no_wrap=True, overflow="ellipsis")


class ConsoleCallback(callbacks.Callback):
    """Progress on a terminal; on a pipe or a file, a plain line now and then.

    Everything goes to stderr, so that what a command prints as its result can be piped.

    Args:
        quiet: print nothing at all.
        console: where to print instead of stderr.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bars = _TwoLines(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lines: dict[str, _Lines] = {}
        self._validation = ""

    def on_note(self, message: str) -> None:
        """One line that stays."""
        self.console.print(self._text(message))

    def on_warning(self, message: str) -> None:
        """One line that asks for attention."""
        self.console.print(self._text(f"warning: {message}"), style="yellow")

    def on_progress(self, progress: callbacks.Progress) -> None:
        """A bar for each work; it appears with the first report and goes with the last."""
        if progress.ended:
            self._end(progress.name)
        else:
            self._show(progress.name, progress.unit, progress.done, progress.total, progress.detail)

    def on_validation(self, validation: callbacks.Validation) -> None:
        """Its figures are shown beside the losses from here on."""
        self._validation = "".join(
            f" val {100 * value:.1f}%" if name == "val_accuracy" else f" {name} {value:.3f}"
            for name, value in validation.figures.items()
        )

    def on_step(self, step: callbacks.TrainingStep) -> None:
        """A bar of its own for training."""
        losses = " ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
        gpu = f" {_gpu(step.gpu)}" if step.gpu else ""
        detail = f"{step.images_per_second:.0f} images/s{gpu} {losses}{self._validation}"
        self._show(_TRAINING, "steps", step.step, step.total, detail)
        if step.step == step.total:
            self._end(_TRAINING)

    def on_stage(self, stage: callbacks.Stage) -> None:
        """A bar of training that ended early goes."""
        self._end(_TRAINING)

    def on_end(self, end: callbacks.RunEnd) -> None:
        """Every bar goes, so that what is printed next has the terminal to itself."""
        for name in (*self._tasks, *self._lines):
            self._end(name)
        self._validation = ""

    def _text(self, message: str) -> Text:
        # A str would be read as markup, and :colons: in it as emoji.
        return Text(printable(message, self.console.encoding))

    def _show(self, name: str, unit: str, done: int, total: int, detail: str) -> None:
        if not self.console.is_terminal:
            if self._lines.setdefault(name, _Lines()).due(done, total):
                self.on_note(f"{name} {done}/{total} {detail}".rstrip())
            return
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, unit=unit, detail="")
            self._bars.start()
        self._bars.update(self._tasks[name], completed=done, total=total, detail=detail)

    def _end(self, name: str) -> None:
        self._lines.pop(name, None)
        task = self._tasks.pop(name, None)
        if task is not None:
            self._bars.remove_task(task)
            if not self._tasks:
                self._bars.stop()


def _gpu(use: callbacks.GpuUse) -> str:
    """As in "GPU 93% 10.2/78.0 GiB"."""
    busy = "" if use.utilization is None else f" {100 * use.utilization:.0f}%"
    return f"GPU{busy} {use.memory / 2**30:.1f}/{use.total / 2**30:.1f} GiB"


class _Lines:
    """The rhythm of progress lines: one per tenth of the work, but not many a second."""

    def __init__(self) -> None:
        self._tenth, self._when = -1, -_QUIET_SECONDS

    def due(self, done: int, total: int) -> bool:
        tenth, now = 10 * done // max(total, 1), time.monotonic()
        if tenth <= self._tenth or (now - self._when < _QUIET_SECONDS and done < total):
            return False
        self._tenth, self._when = tenth, now
        return True
