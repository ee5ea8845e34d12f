"""The interface of an exporter: a finished run to a file that a device runs.

Adding one is adding a file to ``edgedistill.export`` that registers it with `EXPORTERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgedistill.errors import UsageError
from edgedistill.registries import EXPORTERS

if TYPE_CHECKING:
    from edgedistill.export.finished import FinishedRun


@dataclass(frozen=True)
class ExportOptions:
    """Choices of an export.

    Attributes:
        precision: of the file's weights and products, one of the exporter's `precisions`; None for
            the first of them.
        size: input side in pixels; None for the run's own.
        max_drop: share of accuracy, known keep rate and H-score, each, that a lower precision may
            cost before the export is refused.
    """

    precision: str | None = None
    size: int | None = None
    max_drop: float = 0.01


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written and checked.

    Attributes:
        path: the file.
        bytes: its size.
    """

    path: Path
    bytes: int


class Exporter(ABC):
    """Writer of one file format.

    Attributes:
        summary: one line for tables.
        suffix: of the file's name: ".onnx".
        precisions: names of precisions it can write, the default first.
    """

    summary: ClassVar[str]
    suffix: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    @abstractmethod
    def export(self, run: FinishedRun, path: Path, options: ExportOptions) -> ExportedFile:
        """Write the run's student to `path`; `options.precision` is one of `precisions`.

        Raises ExportError, and leaves no file, where the file would not answer as the student.
        """


def export_run(
    name: str, run: FinishedRun, path: Path, options: ExportOptions | None = None
) -> ExportedFile:
    """Write a finished run's student with a registered exporter.

    Raises:
        UsageError: no exporter of this name, or it has not this precision.
        ExportError: see `Exporter.export`.
    """
    options = options or ExportOptions()
    exporter = EXPORTERS[name]()
    precision = options.precision or exporter.precisions[0]
    if precision not in exporter.precisions:
        raise UsageError(
            f"precision: {name!r} has no {precision!r}, only {', '.join(exporter.precisions)}"
        )
    return exporter.export(run, path, ExportOptions(precision, options.size, options.max_drop))
