"""The tutorials run as they are written: fenced files are saved, fenced shell lines executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the tutorials take from a clone; runs stay for the next tutorial."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("recipes", "docs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


# In the order of the menu: the last one starts from the first one's run.
@pytest.mark.slow
@pytest.mark.parametrize("page", ["your-own-folder", "emoji-in-five-minutes", "onto-a-device"])
def test_every_block_of_a_tutorial_runs(page: str, clone: Path) -> None:
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    # The commands are those of this interpreter, and the package that of this checkout.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    executed = 0
    for language, title, body in FENCE.findall(text):
        if title:
            (clone / title).write_text(body, encoding="utf-8")
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-euc", body], cwd=clone, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"
            executed += 1
    assert executed >= 3
