"""The additions of the how-to pages work as they are written: files saved, programs executed."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from edgedistill.registries import DATASETS, EXPORTERS, LOGGERS, METHODS, SCORES, STUDENTS

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BLOCK = re.compile(r'^```python(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, tree_of: Callable[..., dict[str, Any]], shapes: Path
) -> Path:
    """The reader's folder: a recipe, and images in the layout of the dataset's page."""
    folder = tmp_path_factory.mktemp("reader")
    tree = tree_of(train={"steps": 2, "eval_every": 2})
    (folder / "recipe.toml").write_text(tomli_w.dumps(tree), encoding="utf-8")
    (folder / "flat").mkdir()
    for image in shapes.glob("*/*/*.png"):
        name = f"{image.parts[-3]}-{image.parts[-2]}-{image.name}"
        shutil.copyfile(image, folder / "flat" / name)
    return folder


@pytest.fixture(autouse=True)
def registered(folder: Path) -> Iterator[None]:
    """Nothing that a page registers is left for another test."""
    registries = (DATASETS, EXPORTERS, LOGGERS, METHODS, SCORES, STUDENTS)
    before = [set(registry) for registry in registries]
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            registry.unregister(name)
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize(
    "page",
    [
        "add-a-method",
        "add-a-student",
        "add-a-score",
        "add-a-dataset",
        "add-an-exporter",
        "track-a-run",
        "weights",
    ],
)
def test_the_page_s_program_runs(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    if page in ("add-an-exporter", "weights"):
        _run_to_export(folder)
    programs = 0
    namespace: dict[str, Any] = {}
    for title, code in BLOCK.findall((HOW_TO / f"{page}.md").read_text(encoding="utf-8")):
        if title:
            (folder / title).write_text(code, encoding="utf-8")
        else:
            exec(compile(code, f"{page}.md", "exec"), namespace)
            programs += 1
    assert programs


def _run_to_export(folder: Path) -> None:
    import edgedistill as ed

    ed.run(folder / "recipe.toml", out=folder / "runs" / "a")
