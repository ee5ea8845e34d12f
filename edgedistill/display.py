"""What a person sees while a command works: notes, and progress bars with rate and time left."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
        """A line for every tenth of the work."""
        said = -1

        def update(done: int, total: int, detail: str = "") -> None:
            nonlocal said
            tenth = 10 * done // max(total, 1)
            if tenth > said:
                said = tenth
                self.note(f"{name} {done}/{total} {detail}".rstrip())

        return update
