"""Ctrl-C and SIGTERM as a question that a loop asks when it suits."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a flag; a second one ends the process as usual.

    So does the first, on leaving, when nobody asked after it came.
    """
    asked, answered = 0, False
    previous: dict[int, Any] = {
        number: signal.getsignal(number) for number in (int(signal.SIGINT), int(signal.SIGTERM))
    }

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = signum
        signal.signal(signum, previous[signum])

    def stopping() -> bool:
        nonlocal answered
        answered = bool(asked)
        return answered

    try:
        for number in previous:
            signal.signal(number, note)
    except ValueError:  # Not the main thread: signals go to whoever runs there.
        previous = {}
    try:
        yield stopping
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if asked and not answered:
            signal.raise_signal(asked)
