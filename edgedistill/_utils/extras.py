"""Packages that only some commands need, and what to say where they are missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgedistill.errors import MissingPackageError


@contextmanager
def needs_extra(extra: str, who: str = "this command") -> Iterator[None]:
    """Import inside this block what the optional dependencies `extra` bring; `who` needs it.

    Raises MissingPackageError where a package of other people is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("edgedistill"):
            raise
        raise MissingPackageError(
            f'{error.name} is not installed; {who} needs: pip install "edgedistill[{extra}]"'
        ) from None
