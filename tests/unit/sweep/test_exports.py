"""Files of a sweep, started again: what is kept, and what is made anew."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgedistill.errors import ExportRefused
from edgedistill.sweep import exports as module
from edgedistill.sweep.exports import FILES, export_and_evaluate, fingerprint
from edgedistill.sweep.folder import SweepFolder

RUN = "some-run"


class Exporter:
    """Stands for the exporter: writes the two files of a run and counts."""

    def __init__(self) -> None:
        self.exports = 0
        self.refuse = False

    def fp32(self, found: Any, path: Path) -> None:
        self.exports += 1
        path.write_bytes(b"fp32")

    def int8(self, found: Any, path: Path) -> Any:
        if self.refuse:
            raise ExportRefused("int8 loses 3 points")
        path.write_bytes(b"int8")
        return SimpleNamespace(int8=SimpleNamespace(nodes=2, kept_float=1))


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path)
    folder.run(RUN).mkdir(parents=True)
    return folder


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    made = Exporter()
    student = SimpleNamespace(size=8)
    found = SimpleNamespace(recipe=SimpleNamespace(student=student))
    images = SimpleNamespace(target=lambda: None)
    monkeypatch.setattr(module, "load_finished", lambda folder: found)
    monkeypatch.setattr(module, "ExportImages", lambda found, size: images)
    monkeypatch.setattr(module, "export_fp32", made.fp32)
    monkeypatch.setattr(module, "export_int8", made.int8)
    monkeypatch.setattr(
        module,
        "evaluate_file",
        lambda path, target: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    return made


def test_what_is_done_is_kept(sweep: SweepFolder, exporter: Exporter) -> None:
    first = export_and_evaluate(RUN, sweep, True)
    assert export_and_evaluate(RUN, sweep, True) == first and exporter.exports == 1
    assert first["int8"]["nodes"] == 2


@pytest.mark.parametrize("name", FILES.values())
def test_a_file_that_is_gone_or_another_one_is_made_again(
    sweep: SweepFolder, exporter: Exporter, name: str
) -> None:
    first = export_and_evaluate(RUN, sweep, True)
    file = sweep.run(RUN) / name
    file.write_bytes(b"exported by hand")
    assert export_and_evaluate(RUN, sweep, True) == first and exporter.exports == 2
    file.unlink()
    assert export_and_evaluate(RUN, sweep, True) == first and exporter.exports == 3
    assert file.is_file()


def test_an_int8_file_that_was_refused_is_not_tried_again(
    sweep: SweepFolder, exporter: Exporter
) -> None:
    exporter.refuse = True
    first = export_and_evaluate(RUN, sweep, True)
    assert first["int8"] == {"refused": "int8 loses 3 points"}
    assert export_and_evaluate(RUN, sweep, True) == first and exporter.exports == 1


def test_an_int8_file_may_come_later(sweep: SweepFolder, exporter: Exporter) -> None:
    assert set(export_and_evaluate(RUN, sweep, False)) == {"fp32"}
    assert not (sweep.run(RUN) / FILES["int8"]).exists()
    assert set(export_and_evaluate(RUN, sweep, True)) == {"fp32", "int8"}
    assert set(export_and_evaluate(RUN, sweep, False)) == {"fp32"} and exporter.exports == 2


def test_other_results_versions_or_code_are_other_files(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = sweep.run(RUN)
    keys = [fingerprint(run)]
    assert fingerprint(run) == keys[0]
    (run / "openset.json").write_text("{}")
    keys.append(fingerprint(run))
    monkeypatch.setattr(module, "CODE", module.CODE[1:])
    keys.append(fingerprint(run))
    tomorrow = SimpleNamespace(version=lambda name: f"{name} of tomorrow")
    monkeypatch.setattr(module, "metadata", tomorrow)
    keys.append(fingerprint(run))
    assert len(set(keys)) == 4
