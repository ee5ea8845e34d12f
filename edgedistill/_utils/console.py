"""What a person sees while a command works: notes, and progress bars with rate and time left."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

# Between two lines about the same work in a log.
_QUIET_SECONDS = 1.0


class Bar(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, detail: str = "") -> None: ...


class _TwoLines(Progress):
    """A bar with its details below it, cut at the width of the terminal instead of wrapped."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.visible and task.fields["detail"]:
                detail = f"  {task.fields['detail']}"
                yield Text(detail, style="dim", no_wrap=True, overflow="ellipsis")


class Display:
    """Progress on a terminal; on a pipe or a file, a plain line now and then.

    Everything goes to stderr, so that what a command prints as its result can be piped.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Until the block ends, work far below a command reports here, see `current_display`."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def note(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line that asks for attention."""
        self.console.print(f"warning: {text}", style="yellow", markup=False)

    @contextmanager
    def bar(self, name: str, unit: str) -> Iterator[Bar]:
        """A bar for one stage; it appears with the first update."""
        if not self.console.is_terminal:
            yield self._lines(name)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with _TwoLines(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(name, total=None, visible=False, detail="")

            def update(done: int, total: int, detail: str = "") -> None:
                progress.update(task, completed=done, total=total, detail=detail, visible=True)

            yield update

    def _lines(self, name: str) -> Bar:
        """A line for every tenth of the work, but not many a second."""
        said, when = -1, -_QUIET_SECONDS

        def update(done: int, total: int, detail: str = "") -> None:
            nonlocal said, when
            tenth, now = 10 * done // max(total, 1), time.monotonic()
            if tenth > said and (now - when >= _QUIET_SECONDS or done == total):
                said, when = tenth, now
                self.note(f"{name} {done}/{total} {detail}".rstrip())

        return update


_CURRENT: ContextVar[Display] = ContextVar("display")


def current_display() -> Display:
    """The display of the command at work; a new one where there is none."""
    return _CURRENT.get(None) or Display()
