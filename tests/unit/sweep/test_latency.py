"""Times of a sweep's files: which are measured, and when they are measured again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from culprits import raises

from edgedistill.errors import SweepError
from edgedistill.sweep import latency as module
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.latency import representative_runs, time_files

MADE = {"sha256": "1"}


def test_the_first_run_with_all_its_files_is_timed() -> None:
    series = {"a0": "a", "a1": "a", "a2": "a", "b0": "b", "c0": "c"}
    files: dict[str, Any] = {
        "a0": {"fp32": MADE, "int8": {"refused": "int8 loses 3 points"}},
        "a1": {"fp32": MADE, "int8": MADE},
        "a2": {"fp32": MADE, "int8": MADE},
        "b0": {"fp32": MADE},
    }
    assert representative_runs(series, files) == {"a": "a1", "b": "b0"}


def test_times_are_kept_for_the_same_files_machine_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(tmp_path)
    folder.files.mkdir()
    files: dict[str, Any] = {"r": {"fp32": {"sha256": "1"}, "int8": {"sha256": "2"}}}
    measured = {"models": [{"sha256": "1"}, {"sha256": "2"}]}
    asked: list[list[str]] = []

    def bench(command: list[str], **more: Any) -> Any:
        asked.append(command)
        Path(command[-1]).write_text(json.dumps(measured))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=bench))
    for _ in range(2):
        assert time_files(["r"], files, folder, 1, None) == measured and len(asked) == 1
    assert [Path(part).name for part in asked[0] if part.endswith(".onnx")] == [
        "student.onnx",
        "student-int8.onnx",
    ]
    machine = module.machine
    monkeypatch.setattr(module, "machine", lambda *a: {**machine(*a), "onnxruntime": "2.0"})
    for _ in range(2):
        assert time_files(["r"], files, folder, 1, None) == measured and len(asked) == 2
    time_files(["r"], files, folder, 2, None)
    time_files(["r"], files, folder, 2, 6)
    assert len(asked) == 4 and asked[3][asked[3].index("--rounds") + 1] == "6"
    # Another file lies there now than the one that was answered with.
    files["r"]["int8"] = {"sha256": "3"}
    with raises(SweepError, folder.path, "changed"):
        time_files(["r"], files, folder, 2, 6)


def test_what_bench_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = SimpleNamespace(run=lambda *a, **more: SimpleNamespace(returncode=2))
    monkeypatch.setattr(module, "subprocess", failing)
    with raises(SweepError, "edgedistill bench", "status 2"):
        time_files(["r"], {"r": {"fp32": MADE}}, SweepFolder(tmp_path), 1, None)
