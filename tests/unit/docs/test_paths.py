"""Pages for contributors name files and folders that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATH = re.compile(r"(?<![\w./-])(?:edgedistill|benchmarks|docs|export|recipes|tests)/[\w./-]*")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/explanation/architecture.md"])
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # The examples are files to be.
    paths = {path.rstrip(".") for path in PATH.findall(re.sub(r"(?s)```.*?```", "", text))}
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
