"""docs/reference/json-schemas.md names the keys that files and output have, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "json-schemas.md"


def documented(section: str) -> set[str]:
    """Keys in the first column of a section's table."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("name", ["metrics.json", "openset.json", "teacher_check.json"])
def test_a_file_of_a_run_has_the_documented_keys(
    name: str, finished: tuple[Path, Any, Path]
) -> None:
    assert set(json.loads((finished[0] / name).read_text(encoding="utf-8"))) == documented(name)


def test_the_target_has_the_documented_figures(finished: tuple[Path, Any, Path]) -> None:
    target = json.loads((finished[0] / "metrics.json").read_text(encoding="utf-8"))["target"]
    others = {"domain", "images_known", "images_unknown", "per_class", "class_thirds"}
    assert set(target) - others == documented("Metrics")


def test_an_answer_has_the_documented_keys(cli: Any, model: Path, photos: Path) -> None:
    answer = cli("predict", model, photos / "red.png", "--json")
    assert set(json.loads(answer.out)) == documented("edgedistill predict --json")
