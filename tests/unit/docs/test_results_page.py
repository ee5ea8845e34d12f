"""The results stay one page that is read at once; what is longer belongs to benchmarks/."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "results.md"


def test_the_page_is_short_and_has_two_tables_and_a_figure() -> None:
    text = re.sub(r"(?s)\A---.*?---\n|<!--.*?-->", "", PAGE.read_text(encoding="utf-8"))
    assert len(re.findall(r"[\w'.%-]*\w[\w'.%-]*", text)) <= 800
    assert len(re.findall(r"^\|[-:|]+\|$", text, re.MULTILINE)) == 2
    assert len(re.findall(r"!\[", text)) == 1
