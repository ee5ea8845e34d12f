"""benchmarks/speed/RESULTS.md is what the recorded results say, and reads well without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RENDER = (sys.executable, "-m", "benchmarks.speed.render")
PAGE = "# Title\n\n<!-- begin step -->\nold\n<!-- end step -->\n\nafter\n"
RESULT: dict[str, Any] = {
    "command": "python -m benchmarks.speed.step --rounds 3",
    "machine": {
        "processor": "A processor",
        "cores": 2,
        "threads": 2,
        "load": [1.9, 1.0, 0.5],
        "device": "cpu",
        "torch": "2.9",
    },
    "tables": [
        {
            "title": "A step",
            "columns": ["student", "s", "steps"],
            "rows": [["resnet18", 1.23456, 20], ["resnet50", 12345.6, 7]],
        }
    ],
}


def render(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RENDER, *args], capture_output=True, text=True, cwd=ROOT)


def test_the_page_is_what_the_results_say() -> None:
    done = render("--check")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    (tmp_path / "results").mkdir()
    return file


def test_results_become_tables_and_what_is_missing_is_said(page: Path) -> None:
    results = page.parent / "results"
    options = ["--results", results, "--page", page]
    assert render(*options).returncode == 0
    text = page.read_text()
    assert "Not measured yet. `python -m benchmarks.speed.step` measures it." in text
    assert "old" not in text and text.endswith("\n\nafter\n")
    (results / "step.json").write_text(json.dumps(RESULT))
    busy = {**RESULT["machine"], "load": [5.0, 1.0, 1.0], "device": "A GPU"}
    (results / "step-gpu.json").write_text(json.dumps({**RESULT, "machine": busy}))
    assert render("--check", *options).returncode == 1
    assert render(*options).returncode == 0
    text = page.read_text()
    assert "Not measured" not in text
    assert text.count("    python -m benchmarks.speed.step --rounds 3\n") == 2
    assert (
        text.count("| student | s | steps |\n| --- | ---: | ---: |\n| resnet18 | 1.23 | 20 |") == 2
    )
    assert "| resnet50 | 12,346 | 7 |" in text
    assert text.count("so not alone on it") == 1 and "A GPU, A processor" in text
    assert render("--check", *options).returncode == 0
