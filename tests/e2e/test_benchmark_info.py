"""`edgedistill data info pacs --root DIR`: what is wrong with a copy, and runs of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgedistill.data.published.benchmarks import benchmarks


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of every class of PACS, one of them broken."""
    root = tmp_path_factory.mktemp("data") / "PACS"
    facts = benchmarks()["pacs"]
    for d, domain in enumerate(facts.domains):
        for c, class_name in enumerate(facts.classes):
            folder = root / domain.replace("_", " ") / class_name
            folder.mkdir(parents=True)
            for number in range(4):
                color = (50 * d, 30 * c, 20 * number)
                Image.new("RGB", (8, 8), color).save(folder / f"{number}.png")
    (root / "photo" / "dog" / "3.png").write_bytes(b"GIF89a")
    return root


def test_a_wrong_copy_is_named_file_by_file(cli: Any, pacs: Path, tmp_path: Path) -> None:
    result = cli("data", "info", "pacs", "--root", pacs, "--sheet", "all.png", cwd=tmp_path)
    assert result.status == 1
    assert "differences to PACS as published" in result.out
    assert "missing: 375 images in art_painting/dog, 4 of 379" in result.out
    assert "1 files need attention:" in result.out and "photo/dog/3.png: " in result.out
    assert "none found; HDG's train and val parts are then split by hash" in result.out
    assert (tmp_path / "all.png").is_file()

    result = cli("data", "info", "pacs", "--root", pacs, "--json", cwd=tmp_path)
    listed = json.loads(result.out)
    assert result.status == 1 and len(listed["findings"]) == 28 and len(listed["problems"]) == 1
    assert listed["contact_sheet"] is None and [p.name for p in tmp_path.iterdir()] == ["all.png"]
    assert listed["domains"][0] == {"name": "art_painting", "found": 28, "published": 2048}


@pytest.mark.parametrize(
    ("arguments", "culprits"),
    [
        (["pacs"], ["PACS", "data.root"]),
        (["pacs", "--root", "no/such"], ["no/such", "PACS"]),
        (["emoji", "--root", "."], ["--root", "--lists", "pacs, officehome"]),
        (["pacs", "--root", ".", "--target", "photo"], ["recipe", "split"]),
        (["pacs", "--root", ".", "--set", "data.target=photo"], ["--set", "recipe", "split"]),
        (["pcas", "--root", "."], ["--root", "--lists", "pacs"]),
    ],
)
def test_nonsense_is_one_line(cli: Any, arguments: list[str], culprits: list[str]) -> None:
    cli("data", "info", *arguments).assert_refused(*culprits)


@pytest.mark.parametrize(
    ("protocol", "known", "tested"),
    [({"protocol": "hdg", "hybridness": 1}, 6, 28), ({"protocol": "domainbed"}, 7, 23)],
)
def test_a_run_of_a_benchmark(
    cli: Any,
    pacs: Path,
    tmp_path: Path,
    recipe: Callable[..., Path],
    protocol: dict[str, Any],
    known: int,
    tested: int,
) -> None:
    path = recipe(method={"name": "erm"}, train={"steps": 1, "batch_per_domain": 4})
    text = path.read_text()
    start, end = text.index("[data]"), text.index("[views]")
    values = {"dataset": "pacs", "root": str(pacs), "target": "Art Painting", **protocol}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    path.write_text(text[:start] + "[data]\n" + lines + "\n" + text[end:])
    result = cli("run", path, "--runs", tmp_path, "--name", "one")
    assert result.status == 0, result.err
    assert ("split by hash" in result.err) == (protocol["protocol"] == "hdg")
    metrics = json.loads((tmp_path / "one" / "metrics.json").read_text())
    target = metrics["target"]
    assert target["domain"] == "art_painting" and len(target["per_class"]) == known
    assert target["images_known"] + target["images_unknown"] == tested
    assert (target["images_unknown"] > 0) == (known == 6)
