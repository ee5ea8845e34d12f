"""Between the marks of a page stands what its record says, and the scripts fail in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from culprits import raises

from benchmarks import int8_policy, interval_coverage
from benchmarks.distillation import run as distillation
from benchmarks.distillation.plan import read_settings
from benchmarks.distillation.tables import MARK as DISTILLATION_MARK
from benchmarks.distillation.tables import document as distillation_document
from benchmarks.emoji import fidelity, matrix, matrix_tables, results, threshold, tune, tuning_text
from benchmarks.icons import results as icons_results
from benchmarks.marked import between
from benchmarks.peers import compare, latency, peers_tables
from edgedistill.errors import EdgeDistillError

ROOT = Path(__file__).parents[3]
NOT_YET = "Not measured yet."
# Page, mark, record, what is written from it, and what stands there without it.
PAGES: dict[str, tuple[str, str, Path, Callable[[Any], str], str]] = {
    "matrix": (
        *("benchmarks/emoji/RESULTS.md", matrix.MARK, matrix.RECORD),
        *(matrix_tables.document, matrix_tables.EMPTY),
    ),
    "icons": (
        *("benchmarks/icons/RESULTS.md", icons_results.MARK, icons_results.RECORD),
        *(icons_results.text_of, NOT_YET),
    ),
    "matrix-readme": ("README.md", matrix.MARK, matrix.RECORD, matrix_tables.summary, ""),
    "matrix-summary": (
        *("docs/results.md", matrix.MARK, matrix.RECORD),
        *(matrix_tables.summary, ""),
    ),
    "peers": (
        *("benchmarks/peers/RESULTS.md", compare.MARK, compare.RECORD),
        *(peers_tables.peers_document, NOT_YET),
    ),
    "latency": (
        *("benchmarks/peers/RESULTS.md", latency.MARK, latency.RECORD),
        *(peers_tables.latency_document, NOT_YET),
    ),
    "methods": (
        *("benchmarks/emoji/RESULTS.md", results.MARK, results.RECORDS["results"]),
        *(results.methods_text, NOT_YET),
    ),
    "methods-summary": (
        *("docs/results.md", results.MARK, results.RECORDS["results"]),
        *(results.methods_summary, ""),
    ),
    "ablations": (
        *("benchmarks/emoji/RESULTS.md", results.ABLATION_MARK, results.RECORDS["ablations"]),
        *(results.ablation_text, NOT_YET),
    ),
    "fidelity": (
        *("benchmarks/emoji/FIDELITY.md", fidelity.MARK, fidelity.RECORD),
        *(fidelity.document, fidelity.document([])),
    ),
    "coverage": (
        *("docs/explanation/measurement.md", interval_coverage.MARK, interval_coverage.RECORD),
        *(interval_coverage.table, NOT_YET),
    ),
    "threshold": (
        *("docs/how-to/move-a-threshold.md", threshold.MARK, threshold.RECORD),
        *(threshold.document, NOT_YET),
    ),
    "distillation": (
        *("benchmarks/distillation/README.md", DISTILLATION_MARK, distillation.RECORD),
        *(lambda r: distillation_document(r, read_settings(distillation.SETTINGS)), NOT_YET),
    ),
    "int8": ("benchmarks/INT8.md", int8_policy.MARK, int8_policy.RECORD, int8_policy.page, NOT_YET),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_record_says(name: str) -> None:
    page, mark, record, render, without = PAGES[name]
    text = (ROOT / page).read_text(encoding="utf-8")
    there = record.is_file()
    rendered = render(json.loads(record.read_text(encoding="utf-8"))) if there else without
    shown = text.split(mark)[1]
    expected = between(text, mark, rendered, page).split(mark)[1]
    # Without a record there may be no empty line either.
    assert shown.strip() == expected.strip(), "run the script again with --render"


def test_the_tuning_is_what_its_record_says_or_says_that_it_is_an_earlier_one() -> None:
    record = json.loads(tune.RECORD.read_text(encoding="utf-8"))
    text = (ROOT / "benchmarks/emoji/RESULTS.md").read_text(encoding="utf-8")
    shown = text.split(tuning_text.MARK)[1]
    if "methods" in record:
        assert shown.strip() == tuning_text.document(record).strip()
    else:
        assert "has not been run yet. The recipes are still from an earlier one" in shown


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (matrix, ["--render"]),
        (compare, ["--render"]),
        (latency, ["--render"]),
        (fidelity, ["--render"]),
        (threshold, ["--render"]),
        (interval_coverage, ["--render"]),
        (tune, ["render"]),
        (results, ["methods", "--render"]),
        (results, ["ablations", "--render"]),
        (icons_results, ["--render"]),
        (distillation, ["render"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_nothing_is_rendered_without_a_record(
    script: Any, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "missing.json"
    monkeypatch.setattr(script, "RECORD", missing, raising=False)
    monkeypatch.setattr(
        script, "RECORDS", {"results": missing, "ablations": missing}, raising=False
    )
    monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
    with raises(EdgeDistillError, missing, "python -m benchmarks"):
        script.main()


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (compare, ["run", "--rounds", "0"]),
        (compare, ["run", "--threads", "0"]),
        (latency, ["--rounds", "0"]),
        (latency, ["--threads", "1,0"]),
        (latency, ["--sizes", "0"]),
        (tune, ["run", "--rungs", "60:x"]),
        (results, ["methods", "--jobs", "0"]),
        (icons_results, ["--jobs", "0"]),
        (distillation, ["run", "--jobs", "0"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_done(
    script: Any,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert "is no whole number from" in capsys.readouterr().err.splitlines()[-1]
