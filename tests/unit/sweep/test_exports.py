"""Files of a sweep, started again: what is kept, and what is made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedistill.errors import ExportRefused
from edgedistill.sweep.exports import CODE, FILES, export_and_evaluate, fingerprint
from edgedistill.sweep.folder import SweepFolder

RUN = "some-run"
Export = Callable[[bool], dict[str, Any]]


class Exporter:
    """Stands for the exporter of a run: writes its two files and counts how often."""

    def __init__(self) -> None:
        self.exports = 0
        self.refuse = False

    def fp32(self, path: Path) -> dict[str, Any]:
        self.exports += 1
        return write(path, b"fp32")

    def int8(self, path: Path) -> dict[str, Any]:
        if self.refuse:
            raise ExportRefused("int8 loses 3 points")
        return write(path, b"int8")


def write(path: Path, content: bytes) -> dict[str, Any]:
    path.write_bytes(content)
    return {"sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path)
    folder.run(RUN).mkdir(parents=True)
    return folder


@pytest.fixture
def exporter() -> Exporter:
    return Exporter()


@pytest.fixture
def export(sweep: SweepFolder, exporter: Exporter) -> Export:
    """Export of the run, with an int8 file or without."""
    return lambda int8: export_and_evaluate(RUN, sweep, int8, lambda run: exporter)


def test_what_is_done_is_kept(exporter: Exporter, export: Export) -> None:
    first = export(True)
    assert export(True) == first and exporter.exports == 1
    assert set(first) == {"fp32", "int8"}


@pytest.mark.parametrize("name", FILES.values())
def test_a_file_that_is_gone_or_another_one_is_made_again(
    sweep: SweepFolder, exporter: Exporter, export: Export, name: str
) -> None:
    first = export(True)
    file = sweep.run(RUN) / name
    file.write_bytes(b"exported by hand")
    assert export(True) == first and exporter.exports == 2
    file.unlink()
    assert export(True) == first and exporter.exports == 3
    assert file.is_file()


def test_an_int8_file_that_was_refused_is_not_tried_again(
    exporter: Exporter, export: Export
) -> None:
    exporter.refuse = True
    first = export(True)
    assert first["int8"] == {"refused": "int8 loses 3 points"}
    assert export(True) == first and exporter.exports == 1


def test_an_int8_file_may_come_later(
    sweep: SweepFolder, exporter: Exporter, export: Export
) -> None:
    assert set(export(False)) == {"fp32"}
    assert not (sweep.run(RUN) / FILES["int8"]).exists()
    assert set(export(True)) == {"fp32", "int8"}
    assert set(export(False)) == {"fp32"} and exporter.exports == 2


def test_other_results_versions_or_code_are_other_files(sweep: SweepFolder) -> None:
    run = sweep.run(RUN)
    keys = [fingerprint(run)]
    assert fingerprint(run) == keys[0]
    (run / "openset.json").write_text("{}")
    keys.append(fingerprint(run))
    keys.append(fingerprint(run, code=CODE[1:]))
    keys.append(fingerprint(run, version=lambda name: f"{name} of tomorrow"))
    assert len(set(keys)) == 4
