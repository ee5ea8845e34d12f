"""The matrix, started again: what is kept, and what is done anew."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matrix
import pytest

from edgedistill.errors import EdgeDistillError
from edgedistill.sweep.folder import SweepFolder

RUN: Any = SimpleNamespace(name="some-run")


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
            raise EdgeDistillError("int8 loses 3 points")
        path.write_bytes(b"int8")
        return SimpleNamespace(int8=SimpleNamespace(nodes=2, spared=1))


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    folder = SweepFolder(tmp_path)
    folder.run(RUN.name).mkdir(parents=True)
    return folder


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    made = Exporter()
    student = SimpleNamespace(size=8)
    found = SimpleNamespace(recipe=SimpleNamespace(student=student))
    images = SimpleNamespace(target=lambda: None)
    monkeypatch.setattr(matrix, "load_finished", lambda folder: found)
    monkeypatch.setattr(matrix, "RunImages", lambda found, size: images)
    monkeypatch.setattr(matrix, "export_fp32", made.fp32)
    monkeypatch.setattr(matrix, "export_int8", made.int8)
    monkeypatch.setattr(
        matrix,
        "answered",
        lambda path, target: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
    )
    return made


def test_what_is_done_is_kept(sweep: SweepFolder, exporter: Exporter) -> None:
    first = matrix.measured(RUN, sweep)
    assert matrix.measured(RUN, sweep) == first and exporter.exports == 1
    assert first["int8"]["nodes"] == 2


@pytest.mark.parametrize("name", matrix.FILES.values())
def test_a_file_that_is_gone_or_another_one_is_made_again(
    sweep: SweepFolder, exporter: Exporter, name: str
) -> None:
    first = matrix.measured(RUN, sweep)
    file = sweep.run(RUN.name) / name
    file.write_bytes(b"exported by hand")
    assert matrix.measured(RUN, sweep) == first and exporter.exports == 2
    file.unlink()
    assert matrix.measured(RUN, sweep) == first and exporter.exports == 3
    assert file.is_file()


def test_an_int8_file_that_was_refused_is_not_tried_again(
    sweep: SweepFolder, exporter: Exporter
) -> None:
    exporter.refuse = True
    first = matrix.measured(RUN, sweep)
    assert first["int8"] == {"refused": "int8 loses 3 points"}
    assert matrix.measured(RUN, sweep) == first and exporter.exports == 1


def test_other_results_versions_or_code_are_other_files(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = sweep.run(RUN.name)
    found = [matrix.fingerprint(run)]
    assert matrix.fingerprint(run) == found[0]
    (run / "openset.json").write_text("{}")
    found.append(matrix.fingerprint(run))
    monkeypatch.setattr(matrix, "CODE", matrix.CODE[1:])
    found.append(matrix.fingerprint(run))
    tomorrow = SimpleNamespace(version=lambda name: f"{name} of tomorrow")
    monkeypatch.setattr(matrix, "metadata", tomorrow)
    found.append(matrix.fingerprint(run))
    assert len(set(found)) == 4


def test_times_are_kept_for_the_same_files_machine_and_options(
    sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    row: dict[str, Any] = {"run": RUN.name, "student": "resnet18", "method": "erm"}
    row |= {"fp32": {"sha256": "1"}, "int8": {"sha256": "2"}}
    options = argparse.Namespace(threads=1, rounds=None)
    (sweep.path / "files").mkdir()
    measured = {"models": [{"sha256": "1"}, {"sha256": "2"}]}
    calls = 0

    def bench(command: list[str], **more: Any) -> Any:
        nonlocal calls
        calls += 1
        Path(command[-1]).write_text(json.dumps(measured))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(matrix, "subprocess", SimpleNamespace(run=bench))
    for expected in (1, 1):
        assert matrix.timed([row], sweep, options) == measured and calls == expected
    machine = matrix.machine
    monkeypatch.setattr(matrix, "machine", lambda *a: {**machine(*a), "onnxruntime": "2.0"})
    for expected in (2, 2):
        assert matrix.timed([row], sweep, options) == measured and calls == expected
    options.threads = 2
    matrix.timed([row], sweep, options)
    assert calls == 3
    # Another file lies there now than the one that was answered with.
    row["int8"] = {"sha256": "3"}
    with pytest.raises(EdgeDistillError, match="changed while they were timed"):
        matrix.timed([row], sweep, options)
