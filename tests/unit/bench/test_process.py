"""Fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from culprits import raises

from edgedistill.bench.process import Start, cold_start, peak_memory, start
from edgedistill.errors import BenchError

CPU = ["CPUExecutionProvider"]


def test_a_start_answers_and_its_memory_is_its_own(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of the user may hold anything.
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    parents = bytearray(b"1") * 300_000_000
    ticks = iter([10.0, 12.5])
    measured = start(model, photos / "red.png", 1, CPU, lambda: next(ticks))
    assert measured.seconds == 2.5
    assert measured.user_s > 0
    if sys.platform == "linux":
        assert measured.peak_bytes is not None and 1e6 < measured.peak_bytes < len(parents)


def test_a_process_that_cannot_answer_is_one_line(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with raises(BenchError, broken, "status 2", "ONNX") as caught:
        start(broken, photos / "red.png", 1, CPU)
    # The runtime's own advice, and no other.
    assert "close other programs" not in str(caught.value)


def test_a_process_that_hangs_is_one_line(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs.py").write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("edgedistill.bench.process._MODULE", "hangs")
    with raises(BenchError, model, "0.5 s"):
        start(model, photos / "red.png", 1, CPU, limit=0.5)


def test_the_process_imports_the_runtime_and_nothing_else() -> None:
    program = Path(__file__).parent / "programs" / "import_first_answer.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    ours, others = done.stdout.split("\n")[:2]
    allowed = {"errors", "bench", "runtime"}
    assert {name.split(".")[1] for name in ours.split() if "." in name} == allowed
    assert others == "" and "bench.collect" not in ours


def test_starts_are_summarised_by_medians() -> None:
    starts = [Start(1.0, 0.3, 50), Start(9.0, 0.5, 70), Start(2.0, 0.4, 60)]
    assert cold_start(starts) == {
        "median_s": 2.0,
        "values_s": [1.0, 9.0, 2.0],
        "user_cpu_s": 0.4,
    }
    assert peak_memory(starts) == 60
    assert peak_memory([Start(1.0, 0.3, None)]) is None
