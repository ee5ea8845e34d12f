"""`edgedistill cache build`, `info`, `verify` and `clear`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from filelock import FileLock

# Pixel hash and checksum of every image: one block holds all of this data set.
BLOCK = "blocks/0.u64"


def entries(views: Path) -> np.ndarray:
    return np.fromfile(views / BLOCK, np.uint64).reshape(-1, 2)


def test_build_says_what_it_made(built: tuple[Path, Path, Any]) -> None:
    _, cache, result = built
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines] == ["images", "images", "views", "plain"]
    # Three source domains, four known classes of twelve images, a fifth of them for validation.
    done = int(lines[2].partition(" views of ")[2].split()[0])
    assert 90 < done < 144 and "2 views of" in lines[2] and "240 images" in lines[2]
    # The rest of these 144, the target's 48 and every unknown image, and those that the teacher's
    # check trains its probe on.
    plain = int(lines[3].partition(" of 240 images")[0].split()[-1])
    assert 144 - done + 48 + 48 < plain < 240
    assert "teacher views" in result.err
    assert {path.name for path in cache.iterdir()} == {"store", "views", "plain"}


def test_build_again_computes_nothing(cached: Any) -> None:
    vectors = cached.views / "embeddings.f16"
    before = vectors.read_bytes()
    result = cached("build", cached.recipe)
    assert result.status == 0 and result.err == ""
    assert vectors.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [("method.name=erm", "erm learns from no teacher"), ("views.count=0", "views.count = 0")],
)
def test_build_without_views_stores_the_images_and_asks_the_teacher_about_them(
    cli: Any, built: tuple[Path, Path, Any], tmp_path: Path, change: str, reason: str
) -> None:
    env = {"EDGEDISTILL_CACHE": str(tmp_path)}
    result = cli("cache", "build", built[0], "--set", change, env=env)
    assert result.status == 0
    assert reason in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"store", "plain"}


def test_info_lists_every_cache_with_its_size(cached: Any) -> None:
    (cached.folder / "notes").mkdir()
    record = json.loads(cached("info", "--json").out)
    assert record["folder"] == str(cached.folder)
    kinds = sorted(entry["kind"] for entry in record["caches"])
    assert kinds == ["images", "images", "plain", "views"]
    assert record["bytes"] == sum(entry["bytes"] for entry in record["caches"]) > 0
    views = next(e for e in record["caches"] if e["kind"] == "views")
    # A few blocks: most rows of the sparse file are not filled.
    real = sum(file.stat().st_size for file in cached.views.rglob("*") if file.is_file())
    assert 0 < views["bytes"] <= real + 4096 * 4
    table = cached("info").out
    assert views["name"][:12] in table and "240 images" in table and "all" in table


def test_info_of_nothing(cached: Any) -> None:
    shutil.rmtree(cached.folder)
    result = cached("info", "--json")
    assert result.status == 0 and json.loads(result.out)["caches"] == []


def test_info_of_damaged_caches(cached: Any) -> None:
    (cached.views / "header.json").write_text("{")
    for report in cached.folder.glob("store/*/report.json"):
        report.unlink()
    result = cached("info")
    assert result.status == 0
    assert result.out.count("with a damaged") == 3


def test_verify_finds_a_sound_cache_sound(cached: Any) -> None:
    result = cached("verify", cached.recipe)
    assert result.status == 0, result.out
    assert result.out.count("sound") == 4


def test_verify_of_nothing(cached: Any) -> None:
    shutil.rmtree(cached.folder)
    result = cached("verify", cached.recipe)
    assert result.status == 0
    assert result.out.count("not stored yet") == 2 and result.out.count("not computed yet") == 2


def test_an_edited_embedding_is_found_refused_and_repaired(cached: Any) -> None:
    vectors = cached.views / "embeddings.f16"
    row = int(np.flatnonzero(entries(cached.views)[:, 0])[5])
    before = vectors.read_bytes()
    cached.flip(vectors, row * (len(before) // 240) + 7)
    result = cached("verify", cached.recipe)
    assert result.status == 1
    assert "damaged" in result.out and "embeddings of 1 images" in result.out
    refused = cached("build", cached.recipe)
    refused.assert_refused("1 images", "edgedistill cache verify RECIPE --repair")
    assert cached("verify", cached.recipe, "--repair").status == 0
    assert cached("build", cached.recipe).status == 0
    assert vectors.read_bytes() == before


def test_a_cut_file_is_found_refused_and_cleared_by_the_name_the_refusal_gives(
    cached: Any,
) -> None:
    (cached.views / "embeddings.f16").write_bytes(b"short")
    result = cached("verify", cached.recipe)
    assert result.status == 1 and "has 5 bytes instead of" in result.out
    refused = cached("build", cached.recipe)
    assert refused.status == 2
    command = refused.error.rpartition("edgedistill ")[2].split()
    assert command == ["cache", "clear", cached.views.name]
    assert cached(*command[1:]).status == 0
    assert cached("build", cached.recipe).status == 0


def test_a_run_refuses_what_was_edited(cached: Any, tmp_path: Path) -> None:
    wrong = entries(cached.views) + np.array([0, 1], np.uint64)
    wrong.tofile(cached.views / BLOCK)
    refused = cached(cached.recipe, "--runs", tmp_path / "runs", command="run")
    refused.assert_refused("embeddings", "edgedistill cache verify RECIPE --repair")
    header = cached.views / "header.json"
    header.write_text(header.read_text().replace('"seed": 0', '"seed": 9'))
    refused = cached(cached.recipe, "--runs", tmp_path / "runs", command="run")
    refused.assert_refused(header, "edgedistill cache clear")


def test_images_that_change_or_vanish_are_noticed(
    cached_of: Callable[..., Any],
    tree_of: Callable[..., dict[str, Any]],
    shapes: Path,
    tmp_path: Path,
) -> None:
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(tomli_w.dumps(tree_of(data={"dataset": str(root)})))
    mine = cached_of(recipe, tmp_path / "cache")
    assert mine("build", recipe).status == 0
    hashes = entries(mine.views)[:, 0]
    before = (mine.views / "embeddings.f16").read_bytes()
    row = int(np.flatnonzero(hashes)[0])
    paths = sorted(path.relative_to(root) for path in root.glob("*/*/*.png"))
    # Another picture of another size; the index is in the order of the sorted paths.
    shutil.copy(root / paths[-1], root / paths[row])
    Path(root / paths[row]).touch()
    assert mine("build", recipe).status == 0
    changed = entries(mine.views)[:, 0]
    assert np.flatnonzero(changed != hashes).tolist() == [row]
    after = (mine.views / "embeddings.f16").read_bytes()
    width = len(before) // len(hashes)
    rows = [before[i : i + width] == after[i : i + width] for i in range(0, len(before), width)]
    assert [i for i, same in enumerate(rows) if not same] == [row]
    (root / paths[row]).unlink()
    assert mine("build", recipe).status == 0
    assert len(list((mine.folder / "views").iterdir())) == 2
    assert len(list((mine.folder / "plain").iterdir())) == 2


def test_numbers_that_are_not_the_teachers_are_found(cached: Any) -> None:
    """A whole cache swapped for another has sound checksums."""
    other = cached("build", cached.recipe, "--set", "views.seed=1")
    assert other.status == 0
    first, second = sorted((cached.folder / "views").iterdir())
    for name in ("embeddings.f16", BLOCK):
        a, b = (first / name).read_bytes(), (second / name).read_bytes()
        (first / name).write_bytes(b)
        (second / name).write_bytes(a)
    result = cached("verify", cached.recipe)
    assert result.status == 1 and "1 - cosine" in result.out


def test_edited_pixels_are_found_and_repaired(cached: Any) -> None:
    array = next(cached.folder.glob("store/*/domain0.npy"))
    cached.flip(array, 200)
    result = cached("verify", cached.recipe)
    assert result.status == 1 and "pixels of 1 images were edited" in result.out
    assert cached("verify", cached.recipe, "--repair").status == 0
    assert cached("build", cached.recipe).status == 0
    assert cached("verify", cached.recipe).out.count("sound") == 4


def test_clear_by_recipe_leaves_other_recipes(cached: Any) -> None:
    assert cached("build", cached.recipe, "--set", "views.seed=1").status == 0
    result = cached("clear", cached.recipe)
    assert result.status == 0
    assert result.out.count("removed") == 4 and "freed" in result.out
    left = json.loads(cached("info", "--json").out)["caches"]
    assert [entry["kind"] for entry in left] == ["views"]


def test_clear_all_leaves_what_is_not_ours(cached: Any) -> None:
    mine = cached.folder / "store" / "mine"
    mine.mkdir()
    leftover = cached.folder / "views" / f".{cached.views.name}.tmp-0123"
    leftover.mkdir()
    result = cached("clear", "--all")
    assert result.status == 0
    assert result.out.count("removed") == 5
    left = {p.name for p in cached.folder.glob("*/*") if not p.name.endswith(".lock")}
    assert left == {"mine"}


def test_clear_refuses_a_cache_that_is_being_filled(cached: Any) -> None:
    with FileLock(cached.views / "locks" / "0"):
        result = cached("clear", "--all")
    result.assert_refused(cached.views, "another process")
    assert cached.views.is_dir() and not list(cached.folder.glob("store/*/report.json"))


@pytest.mark.parametrize("args", [(), ("--all", "x"), ("nosuchcache",), ("",)])
def test_clear_wants_to_know_what(cached: Any, args: tuple[str, ...]) -> None:
    result = cached("clear", *args)
    assert result.status == 2
    assert result.error
    assert cached.views.is_dir()


def test_a_recipe_that_is_not_there(cached: Any) -> None:
    for command in ("build", "verify", "clear"):
        cached(command, "none.toml").assert_refused("none.toml", "recipe")


def test_info_needs_no_torch(cached: Any) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgedistill", "cache", "info"],
        capture_output=True,
        text=True,
        env={**os.environ, "EDGEDISTILL_CACHE": str(cached.folder)},
    )
    assert result.returncode == 0, result.stderr
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "edgedistill.cli.cache" in imported and "torch" not in imported
