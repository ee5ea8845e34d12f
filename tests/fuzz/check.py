"""The oracle of a case: one line that refuses it, or success; no other outcome."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from fuzz.documents import documents
from fuzz.kinds import Kind
from fuzz.mutate import mutate
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from edgedistill.errors import EdgeDistillError
from edgedistill.runtime.preprocess import ImageProblem

Outcome = Literal["accepted", "refused"]
# Of one case, in seconds: a hang, not a slow machine.
LIMIT = 20.0
LONGEST_LINE = 2000


class Fault(AssertionError):
    """A case that ended in another way than it may; the message says how."""


class _Hang(BaseException):
    """Not an Exception, which readers may catch."""


def check(kind: Kind, damaged: bytes, folder: Path, printed: Callable[[], int]) -> Outcome:
    """Have a damaged file read.

    Args:
        folder: with what lies beside the file, as `kind.prepare` wrote it.
        printed: bytes that native code has written to stderr so far.

    Raises:
        Fault: an exception of another kind, a refusal that is no single line, a hang, output of
            native code, or a file that was left in the folder.
    """
    path = folder / kind.file
    before = printed()
    outcome: Outcome = "accepted"
    try:
        path.write_bytes(kind.rewrite(damaged))
        names = _names(folder)
        with _limited():
            kind.read(path)
    except (EdgeDistillError, ImageProblem) as error:
        outcome = "refused"
        line = str(error)
        if len(line.splitlines()) != 1:
            raise Fault(f"a refusal of several lines: {line[:500]!r}") from error
        if len(line) > LONGEST_LINE:
            raise Fault(f"a refusal of {len(line)} characters: {line[:500]!r}") from error
    except _Hang:
        raise Fault(f"more than {LIMIT:g} s") from None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {str(error)[:500]}") from error
    if outcome == "accepted" and _names(folder) != names:
        raise Fault(f"left {sorted(_names(folder) - names)}")
    if printed() != before:
        raise Fault("native code printed on stderr")
    return outcome


def mutated(kind: Kind, number: int, first: int) -> bytes:
    """The damaged bytes of case `number` of a seed."""
    rng = random.Random(f"{first}/{kind.name}/{number}")
    return mutate(rng.choice(kind.examples()), rng)


def each_document(kind: Kind, count: int, first: int, run: Callable[[bytes], object]) -> None:
    """Call `run` with `count` damaged documents of a seed."""
    strategy = st.sampled_from(kind.examples()).flatmap(lambda e: documents(e, kind.formats))

    @seed(f"{first}/{kind.name}")
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def every(damaged: bytes) -> None:
        run(damaged)

    every()


@contextmanager
def quiet_warnings_and_counted_stderr() -> Iterator[Callable[[], int]]:
    """Python's warnings off, as in a command; yields how much was written to stderr meanwhile."""
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.fstat(file.fileno()).st_size
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def _names(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}
