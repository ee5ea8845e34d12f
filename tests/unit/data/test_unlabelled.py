"""Images without labels that join a training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import assert_names, raises
from PIL import Image

from edgedistill.data import unlabelled
from edgedistill.data.drawn.pool import read_pool
from edgedistill.data.images import ImageSet
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.unlabelled import list_unlabelled, open_unlabelled, own_rows
from edgedistill.errors import DataError
from edgedistill.recipe.schema import DataSection

SIZE = 32


def section(shapes: Path, *entries: Path | str, **values: Any) -> DataSection:
    given = {"target": "sea", "unknown": ["star"], **values}
    return DataSection(dataset=str(shapes), unlabelled=[str(e) for e in entries], **given)


def opened(data: DataSection) -> tuple[OpenSetSplit, list[list[str]], tuple[str, ...]]:
    """The split, the paths of each entry's images, and the warnings."""
    dataset = resolve_split(data)
    images, lines = open_unlabelled(data, dataset, SIZE)
    return dataset, [[part.paths[row] for row in part.rows] for part in images], lines


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_images_at_any_depth_and_what_is_no_image_in_a_line(shapes: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    for number, name in enumerate(["b.png", "a/2.png", "a/deep/1.png"]):
        noise(pool / name, number)
    (pool / "a" / "broken.png").write_bytes(b"no image")
    (pool / "notes.md").write_text("text")
    noise(tmp_path / "other" / "1.png", 9)
    _, paths, lines = opened(section(shapes, pool, tmp_path / "other"))
    assert paths == [["b.png", "a/2.png", "a/deep/1.png"], ["1.png"]]
    assert len(lines) == 2
    assert_names(lines[0], "data.unlabelled", pool, "notes.md")
    assert_names(lines[1], "data.unlabelled", "a/broken.png")


def test_no_image_that_is_validated_or_tested_on_is_learned_from(
    shapes: Path, tmp_path: Path
) -> None:
    """Neither by its path nor as a copy; nor any other of the target domain or unknown classes."""
    pool = tmp_path / "pool"
    noise(pool / "0.png", 0)
    data = section(shapes, pool, shapes / "paper", known=["circle", "square"])
    dataset = resolve_split(data)
    index, split = dataset.index, dataset.split
    secret = [split.val[0], dataset.target[0], split.target_unknown[0]]
    for number, row in enumerate(secret, 1):
        shutil.copy(index.path(int(row)), pool / f"{number}.png")
    _, (of_pool, of_domain), lines = opened(data)
    assert of_pool == ["0.png"]
    assert_names(lines[0], pool, 3, "1.png")
    # Classes that are neither known nor unknown may be learned from: nothing is measured on them.
    assert {path.split("/")[0] for path in of_domain} == set(index.classes) - {
        *("circle", "square", "star")
    }
    assert_names(lines[1], shapes / "paper")


def test_every_image_of_the_target_domain_is_the_datasets_own(shapes: Path) -> None:
    dataset = resolve_split(section(shapes, test_fraction=0.5))
    in_target = np.flatnonzero(dataset.index.domain == dataset.index.domains.index("sea"))
    assert len(dataset.target) < len(in_target)
    assert set(in_target) <= set(own_rows(dataset))


@pytest.mark.parametrize(
    ("entries", "culprits"),
    [
        (["{shapes}/sea"], ["data.unlabelled", "sea"]),
        (["{tmp}/pool", "{tmp}/pool"], ["data.unlabelled", "pool"]),
        (["{tmp}/nothing"], ["data.unlabelled", "nothing"]),
        (["{tmp}/broken"], ["data.unlabelled", "broken", "1.png"]),
        (["emojy"], ["data.unlabelled", "emojy", "'emoji'"]),
        (["pacs"], ["data.unlabelled", "'pacs'", "emoji, icons"]),
    ],
)
def test_an_entry_without_an_image_is_refused(
    shapes: Path, tmp_path: Path, entries: list[str], culprits: list[str]
) -> None:
    noise(tmp_path / "pool" / "1.png", 0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "1.png").write_bytes(b"no image")
    given = [entry.format(shapes=shapes, tmp=tmp_path) for entry in entries]
    with raises(DataError, *culprits):
        opened(section(shapes, *given))


def test_a_benchmarks_pool_is_in_the_styles_of_its_sources(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = resolve_split(section(shapes))
    styles = dataset.index.domains
    for number, style in enumerate(styles):
        noise(tmp_path / "pool" / style / "1.png", number)
    pool = read_pool(tmp_path / "pool", styles)
    monkeypatch.setattr(unlabelled, "POOLS", {"emoji": lambda: pool})
    on_it = section(shapes, "emoji").model_copy(update={"dataset": "emoji"})
    (own,) = list_unlabelled(on_it, dataset)
    assert [own.index.domains[d] for d in own.index.domain[own.rows]] == list(dataset.split.sources)
    (others,) = list_unlabelled(section(shapes, "emoji"), dataset)
    assert len(others.rows) == len(styles)
    # Both share what is stored of it.
    assert own.index == others.index


def test_joined_sets_are_read_part_by_part() -> None:
    pixels = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)
    first = ImageSet.from_array(pixels[[3, 1]], tuple("abcde"), np.array([3, 1]))
    second = ImageSet.from_array(pixels[2:], tuple("xyz"))
    joined = ImageSet.join([first, replace(second, root=Path("/pool"))])
    assert len(joined) == 5
    assert np.array_equal(joined[np.array([4, 0, 1, 2, 4])], pixels[[4, 3, 1, 2, 4]])
    assert np.array_equal(joined[1:3], pixels[[1, 2]])
    assert [joined.paths[row] for row in joined.rows] == ["d", "b", "x", "y", "z"]
    assert [joined.name(0), joined.name(3)] == ["d", "/pool/y"]
    with pytest.raises(ValueError, match="2, 4"):
        ImageSet.join([first, ImageSet.from_array(np.zeros((1, 4, 4, 3), np.uint8))])


def test_images_that_a_run_is_to_answer_are_left_out_too(shapes: Path, tmp_path: Path) -> None:
    target, pool = tmp_path / "new", tmp_path / "pool"
    noise(target / "1.png", 1)
    noise(pool / "copy.png", 1)
    noise(pool / "other.png", 2)
    _, paths, lines = opened(section(shapes, pool, target=str(target), unknown=[]))
    assert paths == [["other.png"]]
    assert_names(lines[0], pool, "copy.png")
    with raises(DataError, "data.unlabelled", target):
        opened(section(shapes, target, target=str(target), unknown=[]))
