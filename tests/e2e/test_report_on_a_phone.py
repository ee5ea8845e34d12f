"""A run's report in a browser as wide as a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

WIDTH = 390
# Without a frame, the browser's window is never narrower than 500 pixels.
FRAME = """<title></title><iframe src="report.html" width="{width}" height="800" style="border:0"
onload="document.title = 'width ' + this.contentDocument.documentElement.scrollWidth"></iframe>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_nothing_is_wider_than_a_phone(finished: tuple[Path, Any, Path], tmp_path: Path) -> None:
    shutil.copy(finished[0] / "report.html", tmp_path)
    (tmp_path / "frame.html").write_text(FRAME.format(width=WIDTH), encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
    browser += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    page = subprocess.run(
        [*browser, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    width = re.search(r"<title>width (\d+)", page.stdout)
    assert width is not None, page.stdout[:500]
    assert int(width[1]) <= WIDTH
