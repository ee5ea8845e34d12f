"""The examples of CONTRIBUTING.md, each put into a file of its own, work in a run."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from culprits import raises

import edgedistill as ed
from edgedistill.data.datasets import load_dataset
from edgedistill.errors import DataError
from edgedistill.registries import DATASETS, EXPORTERS, METHODS, SCORES, STUDENTS

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
EXAMPLE = re.compile(r"```python\n# (?P<file>edgedistill/\S+\.py)\n(?P<code>.*?)```", re.DOTALL)
REGISTERED = {
    "smoothed": METHODS,
    "two_layers": STUDENTS,
    "table": DATASETS,
    "logit_margin": SCORES,
    "torch": EXPORTERS,
}


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


def test_examples_train_and_export_together(
    tree_of: Callable[..., dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    root = tmp_path / "listed"
    shutil.copytree(shapes, root)
    rows = [p.relative_to(root).as_posix() for p in root.glob("*/*/*.png")]
    lines = [f"{row},{','.join(row.split('/')[:2])}" for row in rows]
    (root / "images.csv").write_text("\n".join(["path,domain,class", *lines]), encoding="utf-8")
    recipe = tree_of(
        data={"dataset": "table", "root": str(root)},
        method={"name": "smoothed", "smoothing": 0.2},
        student={"model": "two_layers"},
        openset={"score": "logit_margin"},
    )
    run = ed.run(recipe, out=tmp_path / "run")
    assert 0 <= run.metrics["target"]["h_score"] <= 1

    path = tmp_path / "student.pt2"
    run.export(path, format="torch")
    program = torch.export.load(path).module()
    image = torch.zeros((2, 32, 32, 3), dtype=torch.uint8)
    label, score, _ = program(image, torch.tensor(torch.inf))
    assert label.tolist() == [-1, -1]
    assert (score >= 0).all()


def test_example_of_a_dataset_names_the_list_it_lacks(tmp_path: Path) -> None:
    with raises(DataError, tmp_path / "images.csv"):
        load_dataset("table", tmp_path)
