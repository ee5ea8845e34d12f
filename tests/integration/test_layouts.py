"""Runs on images with a given split, in folders and in a table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgedistill as ed

PARTS = {"train": range(6), "val": range(6, 9), "test": range(9, 12)}
KNOWN, DOMAINS = ("circle", "cross", "square", "tall_bar"), ("night", "sea")


def part_of(number: int) -> str:
    return next(part for part, numbers in PARTS.items() if number in numbers)


@pytest.fixture(scope="module")
def layouts(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One domain of `shapes` as folders of a split, and two of them as a table."""
    root = tmp_path_factory.mktemp("layouts")
    rows = ["path,label,domain,split"]
    for domain in DOMAINS:
        for file in sorted((shapes / domain).glob("*/*.png")):
            name, part = file.parent.name, part_of(int(file.stem))
            rows.append(f"{domain}/{name}/{file.name},{name},{domain},{part}")
            if domain == "sea":
                copy = root / "sea" / part / name / file.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy)
    (root / "labels.csv").write_text("\n".join(rows))
    return root


@pytest.mark.parametrize(
    ("dataset", "rooted", "domains"),
    [("sea", False, 1), ("labels.csv", True, 2)],
)
def test_a_given_split_is_trained_and_tested_on(
    layouts: Path,
    shapes: Path,
    tree_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    dataset: str,
    rooted: bool,
    domains: int,
) -> None:
    data = {"dataset": str(layouts / dataset), "unknown": ["star"]}
    tree = tree_of(train={"steps": 1}, method={"name": "erm"})
    tree["data"] = {**data, "root": str(shapes)} if rooted else data
    run = ed.run(tree, tmp_path / "run", callbacks=())
    assert run.metrics["source_val"]["images_known"] == 3 * len(KNOWN) * domains
    target = run.metrics["target"]
    assert target["images_known"] == 3 * len(KNOWN) * domains
    assert target["images_unknown"] == 12 * domains
