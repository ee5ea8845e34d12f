"""Errors that a user can mend, by kind, and the request to stop.

Every error is one line that says what is wrong, where, and what to do. The command line prints it
on stderr and exits with status 2; from Python, catch `EdgeDistillError` or one of its kinds and
read `code`, which stays the same from release to release while the wording may not.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

ModelFault = Literal[
    "missing", "no model", "foreign", "contract", "damaged", "metadata", "external", "session"
]  # fmt: skip


def escape(text: str) -> str:
    """Text on one line that cannot move a cursor: unprintable characters as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class EdgeDistillError(Exception):
    """Base of all errors a user can mend; the message is one line.

    Keys, names and values that a file holds stand in it with their unprintable characters escaped.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "") -> None:
        super().__init__(escape(message))


class UsageError(EdgeDistillError):
    """An argument of a command or function has no such value, or does not go with the others."""

    code = "usage"


class MissingPackageError(EdgeDistillError):
    """A package that only some of the work needs is not installed; the message has the command."""

    code = "missing-package"


class RecipeError(EdgeDistillError):
    """A recipe or sweep file is not valid TOML, or a key of it has no such value."""

    code = "recipe"


class DataError(EdgeDistillError):
    """Images, labels or splits are missing, unreadable, or not what the recipe says."""

    code = "data"


class WeightsError(EdgeDistillError):
    """Weights of a teacher or student cannot be had, read, or do not fit the network."""

    code = "weights"


class CacheError(EdgeDistillError):
    """A stored image or a cached embedding cannot be read, written or trusted."""

    code = "cache"


class DamagedCacheError(CacheError):
    """A cache was edited, cut short or deleted in part; removing it mends that.

    Attributes:
        fault: what is wrong, and with which file.
        cache: the name of the cache, as `cache clear` takes it.
    """

    code = "damaged-cache"

    def __init__(self, fault: str, cache: str) -> None:
        super().__init__(f"{fault}; remove it with: edgedistill cache clear {cache}")
        self.fault = fault
        self.cache = cache


class TrainingError(EdgeDistillError):
    """Training cannot start or go on."""

    code = "training"


class DivergedError(TrainingError):
    """A loss, weight or output of the student is not finite."""

    code = "diverged"


class RunFolderError(EdgeDistillError):
    """A run folder holds another run, is in use, or lacks a file."""

    code = "run-folder"


class ExportError(EdgeDistillError):
    """A student cannot be written as a file that does what the student does."""

    code = "export"


class ExportRefused(ExportError):
    """An exported file would lose more than the budget allows.

    Attributes:
        numbers: the rates that decided, name -> (before, after) as shares in [0, 1].
    """

    code = "export-refused"

    def __init__(
        self, message: str, numbers: Mapping[str, tuple[float | None, float | None]] | None = None
    ) -> None:
        super().__init__(message)
        self.numbers = dict(numbers or {})


class ModelFileError(EdgeDistillError):
    """An exported file is damaged, of another contract, or no file of this package.

    Attributes:
        fault: "missing" (no such file, or no file), "no model" (not ONNX, or cut short), "foreign"
            (not exported by this package), "contract" (of another one), "damaged" (the checksum
            differs or is missing), "metadata" (contradicts itself or the graph), "external"
            (weights in other files), or "session" (onnxruntime cannot load or run it).
    """

    code = "model-file"

    def __init__(self, message: str, fault: ModelFault = "no model") -> None:
        super().__init__(message)
        self.fault = fault


class BenchError(EdgeDistillError):
    """A measurement cannot be made, or its requirements cannot be read."""

    code = "bench"


class SweepError(EdgeDistillError):
    """A sweep cannot be planned, started or gone on with."""

    code = "sweep"


class OutputError(EdgeDistillError):
    """A file or folder cannot be written."""

    code = "output"


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; the message says where the work stopped.

    Not a KeyboardInterrupt, which Typer swallows, nor an Exception, which libraries catch.
    """
