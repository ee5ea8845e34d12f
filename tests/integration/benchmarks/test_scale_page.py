"""SCALE.md is arithmetic over what throughput.py measured, and over nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RENDER = (sys.executable, "-m", "benchmarks.speed.render")
IMAGES = 586_575
MARKS = ("plain", "stored", "disk", "teacher", "evaluating", "pays", "starting")
PAGE = "".join(f"<!-- begin scale-{name} -->\n<!-- end scale-{name} -->\n" for name in MARKS)
RESULT: dict[str, Any] = {
    "command": "python -m benchmarks.speed.throughput --rounds 3",
    "commit": "abc1234-dirty",
    "machine": {
        "processor": "A processor",
        "cores": 2,
        "threads": 2,
        "load": [1.9, 1.0, 0.5],
        "device": "cpu",
        "torch": "2.9",
    },
    "settings": {"size": 224, "teacher": "ViT-B-16"},
    "tables": [],
    "results": {
        "images": {
            "files": {"bytes": 80e3, "store": 0.0, "read": 0.01},
            "plain": {"bytes": 150528.0, "store": 0.01, "read": 0.0},
            "packed": {"bytes": 49e3, "store": 0.02, "read": 0.004},
        },
        "teacher": {"views_per_second": 160.0, "width": 768.0},
    },
}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    return file


def rendered(page: Path) -> str:
    results = page.parent / "results"
    subprocess.run([*RENDER, "--results", results, "--page", page], check=True, cwd=ROOT)
    return page.read_text()


def row(text: str, first: str) -> list[str]:
    """The cells after the first one of the only row that begins so."""
    (cells,) = re.findall(rf"^\| {re.escape(first)} \| (.*) \|$", text, re.MULTILINE)
    return cells.split(" | ")


def test_rates_become_bytes_passes_and_hours(page: Path) -> None:
    (page.parent / "results" / "throughput.json").write_text(json.dumps(RESULT))
    text = rendered(page)
    assert row(text, "packed") == ["49.0", "28.7", "3.26", "3.06", "4.00", "2,000"]
    four, sixteen = IMAGES * 4, IMAGES * 16
    assert row(text, "4") == [f"{four:,}", "3.60", "1,146", "2,048", "3.15"]
    assert row(text, "16")[0] == f"{sixteen:,}"
    hours = [f"{n / 160 / 8 / 3600:.3g}" for n in (four, sixteen)]
    assert row(text, "160") == ["measured", *hours, "320", "1.28"]
    assert row(text, "2,000")[0] == "assumed"
    # The sources' fifth and the target's four fifths; all 172,500 of the target.
    validation = sum(int(0.2 * n) for n in (48129, 51605, 72266, 172947, 69128))
    passes = validation + 138_000
    assert row(text, "DomainBed") == [
        *(f"{validation:,}", "138,000", f"{passes:,}"),
        *(f"{passes / rate / 3600:.3g}" for rate in (160, 1000)),
    ]
    assert row(text, "a tenth of the sources, the whole target")[1] == "172,500"
    # 256 px are 64/49 of the area of 224 px.
    assert row(text, "packed at 256 px, for crops (bytes as the area)") == ["37.5"]
    assert text.count("torch 2.9; commit abc1234-dirty.") == 4


def test_what_needs_no_rate_is_there_without_one(page: Path) -> None:
    text = rendered(page)
    assert text.count("Not measured yet. `python -m benchmarks.speed.throughput`") == 4
    assert row(text, "224 px") == ["151", "88.3"]
    assert row(text, "DomainNet")[-1] == "packed" and row(text, "PACS")[-1] == "plain"
    # 5,000 steps of 5 x 32 images; SCMD asks about a fifth of them in three quarters of a run.
    assert row(text, "hdg/domainnet_resnet18_scipd.toml") == ["800,000", "800,000", "3", "12"]
    assert row(text, "domainbed/domainnet_resnet50_scmd.toml")[1] == "320,064"


def test_a_second_machine_has_tables_of_its_own(page: Path) -> None:
    results = page.parent / "results"
    old = {key: value for key, value in RESULT.items() if key != "commit"}
    (results / "throughput.json").write_text(json.dumps(old))
    gpu = {**RESULT["machine"], "device": "A GPU"}
    (results / "throughput-gpu.json").write_text(json.dumps({**RESULT, "machine": gpu}))
    text = rendered(page)
    assert text.count("A GPU, A processor") == 4
    assert text.count("torch 2.9.\n") == 4 and text.count("; commit ") == 4
