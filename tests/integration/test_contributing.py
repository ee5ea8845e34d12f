"""The examples of CONTRIBUTING.md, each put into a file of its own, work in a run."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgedistill._utils.console import Display
from edgedistill.recipe.load import resolve
from edgedistill.registries import METHODS, SCORES, STUDENTS
from edgedistill.run.pipeline import run

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
EXAMPLE = re.compile(r"```python\n# (?P<file>edgedistill/\S+\.py)\n(?P<code>.*?)```", re.DOTALL)
REGISTERED = {"smoothed": METHODS, "two_layers": STUDENTS, "logit_margin": SCORES}


@pytest.fixture(scope="module", autouse=True)
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("examples")
    for match in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8")):
        path = folder / Path(match["file"]).name
        path.write_text(match["code"], encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield
    for name, registry in REGISTERED.items():
        registry.unregister(name)


def test_examples_train_together(tree_of: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    recipe = resolve(
        tree_of(
            method={"name": "smoothed", "smoothing": 0.2},
            student={"model": "two_layers"},
            openset={"score": "logit_margin"},
        )
    )
    metrics, state = run(recipe, tmp_path / "run", Display(quiet=True))
    assert state == "new"
    assert 0 <= metrics["target"]["h_score"] <= 1
