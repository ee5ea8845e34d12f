"""Assertions on errors that a user can mend: their kind and the culprits that they name.

The wording of a message is free to change; its kind, its code and the things that it names (a key
of a recipe, a file, a class, a number that was asked for, a command to run) are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from edgedistill.errors import EdgeDistillError

Error = TypeVar("Error", bound=EdgeDistillError)
Culprit = str | Path | int | float


def assert_names(message: str, *culprits: Culprit) -> None:
    """Every culprit stands in the message, which is one line; not as a part of a longer word."""
    assert len(message.splitlines()) == 1, message
    for culprit in culprits:
        assert re.search(rf"(?<!\w){re.escape(str(culprit))}(?!\w)", message), (culprit, message)


@contextmanager
def raises(kind: type[Error], *culprits: Culprit) -> Iterator[pytest.ExceptionInfo[Error]]:
    """The block raises an error of this kind, not of a narrower one, that names the culprits."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == kind.code, (caught.value.code, kind.code)
    assert_names(str(caught.value), *culprits)
