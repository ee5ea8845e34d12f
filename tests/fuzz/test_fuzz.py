"""Five hundred of the cases of tests/fuzz/run.py, and what its oracle takes for a fault."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import check as oracle
from fuzz.check import Fault, check, each_document, mutated, quiet_warnings_and_counted_stderr
from fuzz.kinds import KINDS, Kind

from edgedistill.errors import DataError

CASES = 500
SEED = 1
# Those that look up methods and students of every case take longer.
FAST = [kind for kind in KINDS if kind.name not in ("resolved recipe", "sweep plan")]


@pytest.mark.parametrize("kind", FAST, ids=[kind.name for kind in FAST])
def test_damaged_files_are_read_or_refused_in_one_line(kind: Kind, tmp_path: Path) -> None:
    kind.prepare(tmp_path)
    cases = -(-CASES // len(FAST))
    of_documents = cases // 2 if kind.formats else 0
    outcomes = []
    with quiet_warnings_and_counted_stderr() as printed:
        for number in range(cases - of_documents):
            outcomes.append(check(kind, mutated(kind, number, SEED), tmp_path, printed))
        if of_documents:
            each_document(
                kind,
                of_documents,
                SEED,
                lambda damaged: outcomes.append(check(kind, damaged, tmp_path, printed)),
            )
    # A case that nothing reads, or that nothing refuses, would test nothing.
    assert {"accepted", "refused"} == set(outcomes)


@pytest.mark.parametrize("kind", FAST, ids=[kind.name for kind in FAST])
def test_the_examples_are_sound(kind: Kind, tmp_path: Path) -> None:
    kind.prepare(tmp_path)
    with quiet_warnings_and_counted_stderr() as printed:
        for example in kind.examples():
            assert check(kind, example, tmp_path, printed) == "accepted"


def _fail(path: Path) -> None:
    raise ValueError("not one of the package's kinds")


def _hang(path: Path) -> None:
    time.sleep(60)


def _leave(path: Path) -> None:
    path.with_suffix(".part").touch()


def _print(path: Path) -> None:
    os.write(2, b"as a library in C does")


def _flood(path: Path) -> None:
    raise DataError("x" * 10_000)


@pytest.mark.parametrize("read", [_fail, _hang, _leave, _print, _flood])
def test_other_outcomes_are_faults(
    read: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "LIMIT", 0.1)
    kind = Kind("any", "a", lambda: [b""], read)
    with quiet_warnings_and_counted_stderr() as printed, pytest.raises(Fault):
        check(kind, b"", tmp_path, printed)
