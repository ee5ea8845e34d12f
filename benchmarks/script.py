"""Shared parts of the scripts of benchmarks/: their errors, numbers and records."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from edgedistill.errors import EdgeDistillError


def run_script(main: Callable[[], object]) -> NoReturn:
    """Call `main` and exit: 0, or 2 after one line on stderr for a failure that was foreseen."""
    try:
        main()
    except EdgeDistillError as error:
        line = " ".join(str(error).split())
        print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def read_record(path: Path, command: str) -> Any:
    """Record that a measurement wrote as JSON.

    Args:
        command: what measures it.

    Raises: EdgeDistillError when the file is not there or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeDistillError(f"{path}: {error.strerror}; measure first: {command}") from None
    except ValueError as error:
        raise EdgeDistillError(f"{path}: no JSON ({error}); measure again: {command}") from None


def whole(smallest: int, largest: int) -> Callable[[str], int]:
    """A type for argparse: a whole number within these limits, 0 <= smallest."""

    def read(text: str) -> int:
        # Python refuses to read thousands of digits.
        if not re.fullmatch("[0-9]{1,9}", text) or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is no whole number from {smallest} to {largest}"
            )
        return int(text)

    return read


def wholes(smallest: int, largest: int) -> Callable[[str], list[int]]:
    """A type for argparse: such numbers with commas between."""
    read = whole(smallest, largest)
    return lambda text: [read(part.strip()) for part in text.split(",")]
