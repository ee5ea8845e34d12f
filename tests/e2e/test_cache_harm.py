"""Harm done to the caches between two commands: `verify` finds it, `run` refuses it in one line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from PIL import Image


def garble(file: Path) -> None:
    file.write_bytes(b"not what it was")


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def edit(file: Path) -> None:
    """Change one bit of the header, of the first computed row, or of every image."""
    if file.suffix == ".npy":
        pixels = np.load(file, mmap_mode="r+")
        pixels[:, 0, 0, 0] ^= 1
        pixels.flush()
        return
    at = 5
    if file.stem == "embeddings":
        entries = np.fromfile(file.with_name("blocks") / "0.u64", np.uint64).reshape(-1, 2)
        at = int(np.flatnonzero(entries[:, 0])[0]) * (file.stat().st_size // 240) + 7
    elif file.suffix == ".u64":
        # The checksum of the first computed row.
        entries = np.fromfile(file, np.uint64).reshape(-1, 2)
        at = 16 * int(np.flatnonzero(entries[:, 0])[0]) + 8
    with open(file, "r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)
        handle.seek(at)
        handle.write(bytes([byte[0] ^ 1]))


def cache_of(file: Path) -> Path:
    """The folder of the cache that a file belongs to."""
    return file.parent.parent if file.parent.name == "blocks" else file.parent


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


HARM: list[tuple[str, Callable[[Path], None]]] = [
    ("views/*/header.json", edit),
    ("views/*/header.json", shorten),
    ("views/*/header.json", Path.unlink),
    ("views/*/embeddings.f16", edit),
    ("views/*/embeddings.f16", shorten),
    ("views/*/embeddings.f16", Path.unlink),
    ("views/*/blocks/0.u64", edit),
    ("views/*/blocks/0.u64", shorten),
    ("plain/*/header.json", edit),
    ("plain/*/embeddings.f32", edit),
    ("plain/*/embeddings.f32", Path.unlink),
    ("plain/*/blocks/0.u64", edit),
    ("store/*/report.json", garble),
    ("store/*/hashes.npy", shorten),
    ("store/*/files.npy", shorten),
    ("store/*/domain0.npy", edit),
    ("store/*/domain0.npy", shorten),
]


@pytest.mark.parametrize(("name", "harm"), HARM)
def test_verify_finds_it_and_run_refuses_it(
    cached: Any, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    files = cached.folder.glob(name)
    # Of the stores that which views are cut from.
    (file,) = (f for f in files if '"size": 32' not in read(f.with_name("report.json")))
    harm(file)
    result = cached("verify", cached.recipe)
    assert result.status == 1, result.out + result.err
    assert result.out.count("damaged: ") == 1 and str(cache_of(file)) in result.out
    refused = cached(cached.recipe, "--runs", tmp_path / "runs", command="run")
    refused.assert_refused(cache_of(file), "edgedistill cache")
    assert not list(tmp_path.glob("runs/*/metrics.json"))
    assert cached("verify", cached.recipe, "--repair").status == 0
    assert "damaged" not in cached("verify", cached.recipe).out


def test_a_run_over_changed_images_is_a_run_without_an_old_cache(
    cached_of: Callable[[Path, Path], Any],
    tree_of: Callable[..., dict[str, Any]],
    shapes: Path,
    tmp_path: Path,
) -> None:
    root = Path(shutil.copytree(shapes, tmp_path / "data"))
    recipe = tmp_path / "mine.toml"
    recipe.write_text(tomli_w.dumps(tree_of(data={"dataset": str(root)}, train={"steps": 2})))
    old, new = (cached_of(recipe, tmp_path / name) for name in ("old", "new"))
    assert old("build", recipe).status == 0
    # The list of images stays; then it does not.
    folder = root / "paint" / "circle"
    for number in range(6):
        Image.new("RGB", (40, 44), (40 * number, 0, 0)).save(folder / f"{number:02d}.png")
    assert old("verify", recipe).status == 0
    compare(old, new, recipe, "changed")
    for number in range(6, 9):
        (folder / f"{number:02d}.png").rename(folder / f"9{number}.png")
    assert old("verify", recipe).status == 0
    compare(old, new, recipe, "gone")


def compare(old: Any, new: Any, recipe: Path, name: str) -> None:
    """Runs on an old cache and on an empty one, which must end with the same bytes."""
    weights = []
    for cache in (old, new):
        shutil.rmtree(new.folder, ignore_errors=True)
        runs = cache.folder.with_name(f"runs-{cache.folder.name}")
        result = cache(recipe, "--runs", runs, "--name", name, command="run")
        assert result.status == 0, result.err
        weights.append((runs / name / "student.safetensors").read_bytes())
    assert weights[0] == weights[1]
