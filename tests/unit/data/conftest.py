"""Trees and lists of the shape of the published benchmarks, with tiny images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from edgedistill.data.published.benchmarks import benchmarks

# Validation images of each class that agree with every count published for HDG's PACS lists.
PACS_VAL = {
    "art_painting": (38, 26, 29, 19, 20, 31, 45),
    "cartoon": (39, 46, 35, 14, 33, 29, 41),
    "photo": (19, 21, 19, 19, 20, 29, 44),
    "sketch": (77, 76, 75, 62, 82, 9, 17),
}
Names = Callable[[str], str]


def plain(name: str) -> str:
    return name


def _grow(
    name: str, root: Path, images: int = 2, folder: Names = plain, class_folder: Names = plain
) -> Path:
    """A tree of a benchmark with `images` different images in every class."""
    facts = benchmarks()[name]
    for d, domain in enumerate(facts.domains):
        for c, class_name in enumerate(facts.classes):
            where = root / folder(domain) / class_folder(class_name)
            where.mkdir(parents=True)
            for number in range(images):
                color = (40 * d + number, c % 256, number)
                Image.new("RGB", (4, 4), color).save(where / f"pic_{number:03d}.png")
    return root


def _write_lists(name: str, folder: Path, images: int, val: int = 1, shift: int = 0) -> Path:
    """HDG's lists for a tree of `_grow`: the first `val` images of each class validate."""
    facts = benchmarks()[name]
    assert facts.hdg
    folder.mkdir(parents=True, exist_ok=True)
    for domain, label in zip(facts.domains, facts.hdg.list_names, strict=True):
        lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for number, class_name in enumerate(facts.classes):
            for image in range(images):
                line = (
                    f"{domain}/{class_name}/pic_{image:03d}.png "
                    f"{number + facts.hdg.label_offset + shift}"
                )
                lines["val" if image < val else "train"].append(line)
                lines["test"].append(line)
        for part, file in facts.hdg.lists.items():
            (folder / file.format(d=label)).write_text("\n".join(lines[part]) + "\n")
    return folder


@pytest.fixture(scope="session")
def grow() -> Callable[..., Path]:
    return _grow


@pytest.fixture(scope="session")
def write_lists() -> Callable[..., Path]:
    return _write_lists


@pytest.fixture(scope="session")
def small_pacs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of every class of PACS, in the domains' folders."""
    return _grow("pacs", tmp_path_factory.mktemp("small"), images=3)


@pytest.fixture(scope="session")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All of PACS, 9,991 images that are one tiny picture, and lists with the published counts."""
    root = tmp_path_factory.mktemp("pacs") / "PACS"
    facts = benchmarks()["pacs"]
    assert facts.hdg
    root.mkdir()
    picture = root / "one.png"
    Image.new("RGB", (4, 4), "teal").save(picture)
    for domain in facts.domains:
        lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for label, (class_name, count) in enumerate(
            zip(facts.classes, facts.class_images[domain], strict=True), 1
        ):
            folder = root / "kfold" / domain / class_name
            folder.mkdir(parents=True)
            for number in range(count):
                os.link(picture, folder / f"pic_{number:03d}.png")
                line = f"{domain}/{class_name}/pic_{number:03d}.png {label}"
                lines["val" if number < PACS_VAL[domain][label - 1] else "train"].append(line)
                lines["test"].append(line)
        for part, file in facts.hdg.lists.items():
            text = "\n".join(lines[part])
            (root / "lists").mkdir(exist_ok=True)
            (root / "lists" / file.format(d=domain)).write_text(text)
    picture.unlink()
    yield root
