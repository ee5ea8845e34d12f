"""Curves as a CSV file in the run folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from edgedistill import callbacks
from edgedistill._utils.atomic import write_text
from edgedistill.callbacks import RunEnd
from edgedistill.errors import OutputError
from edgedistill.loggers.base import Logger
from edgedistill.registries import LOGGERS

_COLUMNS = ("step", "name", "value")


@LOGGERS.register("csv")
class CSVLogger(Logger):
    """The file log.csv in the run folder: a line for each value, with step and name."""

    def open(self) -> None:
        self._path = self.folder / "log.csv"
        self._rows: list[tuple[int, str, float]] = []
        if self._path.is_file():
            self._rows, damaged = _read(self._path)
            if damaged:
                callbacks.current().on_warning(
                    f"{self._path}: {damaged} damaged lines are left out of the curves"
                )
        self._resumed = bool(self._rows)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._resumed:
            # The steps after the checkpoint are done again.
            self._rows = [row for row in self._rows if row[0] < step]
            self._resumed = False
        self._rows += [(step, name, value) for name, value in values.items()]
        if any(name.startswith("val/") for name in values):
            self._write()

    def close(self, end: RunEnd, results: Mapping[str, float]) -> None:
        # A start that failed before training has removed its folder, or may begin again in it.
        if self._rows:
            self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue())


def _read(path: Path) -> tuple[list[tuple[int, str, float]], int]:
    """Rows of an earlier log, and the number of its lines that are none. Raises OutputError."""
    rows: list[tuple[int, str, float]] = []
    damaged = 0
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}; remove it") from error
    for line in text.splitlines()[1:]:
        try:
            ((step, name, value),) = csv.reader([line])
            rows.append((int(step), name, float(value)))
        except (ValueError, csv.Error):
            damaged += 1
    return rows, damaged
