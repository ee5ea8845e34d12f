"""Pages name files, folders and objects that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(p.relative_to(ROOT)) for f in ("docs", "benchmarks") for p in (ROOT / f).rglob("*.md")),
]
PATH = re.compile(r"(?<![\w./-])(?:edgedistill|benchmarks|docs|export|recipes|tests)/[\w./-]*")
OBJECT = re.compile(r"`([\w/]+\.py)`: `(\w+)`")
# Measurements of a reader's own GPU, as an example of a name.
NOT_THERE_YET = re.compile(r"results/\w+-gpu\.json$")


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # The examples are files to be.
    text = re.sub(r"(?s)```.*?```", "", text)
    paths = {path.rstrip(".") for path in PATH.findall(text) if not NOT_THERE_YET.search(path)}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
    for path, name in OBJECT.findall(text):
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), (path, name)
