"""Labelled images of a benchmark: from a recipe, a folder, a dataset."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from culprits import raises
from PIL import Image

from edgedistill.bench.data import find_images, known_positions
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.errors import DataError
from edgedistill.recipe import load_recipe

CLASSES = ("cat", "dog")
Start = Callable[..., "subprocess.Popen[bytes]"]


def put(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)


def test_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "dog" / "b.png", tmp_path / "dog" / "a.jpg", tmp_path / "owl" / "c.png")
    put(tmp_path / "Cat" / "d.png", tmp_path / ".hidden" / "e.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "note.txt").write_text("no image")
    images = find_images(tmp_path, CLASSES)
    names = [file.relative_to(tmp_path).as_posix() for file in images.files]
    assert names == ["Cat/d.png", "dog/a.jpg", "dog/b.png", "owl/c.png"]
    assert images.classes == (None, "dog", "dog", None)
    assert images.unknown == ("Cat", "owl") and images.target is None and len(images) == 4
    unknown, omitted = images.notes
    assert "'cat'" in unknown
    assert "(dog/note.txt)" in omitted and "(empty)" in omitted
    assert known_positions(images.classes, CLASSES).tolist() == [-1, 1, 1, -1]


def test_a_recipe_gives_the_images_its_run_is_evaluated_on(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tree_of(data={"test_fraction": 0.5})))
    dataset = resolve_split(load_recipe(path).data)
    images = find_images(path, dataset.split.known[::-1])
    assert list(images.files) == [dataset.index.path(row) for row in dataset.target.tolist()]
    labels = known_positions(images.classes, dataset.split.known)
    assert np.array_equal(labels, dataset.target_labels)
    assert images.unknown == ("star",) and images.target == "sea" and images.source == str(path)
    with raises(DataError, path, "known classes"):
        find_images(path, CLASSES)


def test_a_recipe_without_a_target_gives_its_held_out_images(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tree = tree_of()
    del tree["data"]["target"]
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tree))
    dataset = resolve_split(load_recipe(path).data)
    images = find_images(path, dataset.split.known)
    assert images.target is None and 0 < len(images) == len(dataset.target)
    assert "held-out images of the same domains" in images.notes[-1]


def test_a_recipe_that_tests_on_no_label_is_refused(
    tree_of: Callable[..., dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    known = ("circle", "cross", "square", "tall_bar")
    put(tmp_path / "photos" / "a.png")
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(tree_of(data={"target": str(tmp_path / "photos")})))
    with raises(DataError, path, "data.target"):
        find_images(path, known)
    tree = tree_of(data={"test_fraction": 0.0})
    del tree["data"]["target"]
    path.write_text(tomli_w.dumps(tree))
    with raises(DataError, path, "data.test_fraction"):
        find_images(path, known)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    def line(source: Path) -> str:
        with pytest.raises(DataError) as error:
            find_images(source, CLASSES)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "does not exist" in line(tmp_path / "nowhere")
    (tmp_path / "file.jpg").write_bytes(b"")
    assert "neither a recipe (.toml) nor a folder" in line(tmp_path / "file.jpg")
    (tmp_path / "bare").mkdir()
    assert "has no images in class/*.jpg" in line(tmp_path / "bare")
    put(tmp_path / "tree" / "domain" / "dog" / "a.png")
    assert f"such as {tmp_path / 'tree' / 'domain'}" in line(tmp_path / "tree")
    put(tmp_path / "birds" / "dogs" / "a.png")
    assert "did you mean 'dog'?" in line(tmp_path / "birds")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    assert f"did you mean {tmp_path / 'run' / 'recipe.toml'}?" in line(tmp_path / "run")


def test_nothing_of_it_needs_torch(without_packages: Start, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    root = tmp_path / "tree"
    put(*(root / domain / name / "a.png" for domain in "xy" for name in ("cat", "dog", "owl")))
    data = {"dataset": str(root), "target": "y", "unknown": ["owl"], "val_fraction": 0.5}
    recipe.write_text(tomli_w.dumps({"data": data, "method": {"name": "erm"}}))
    put(*(root / "x" / name / f"{n}.png" for n in range(20) for name in ("cat", "dog")))
    packages = ("torch", "torchvision", "onnx", "open_clip", "timm")
    program = Path(__file__).parent / "programs" / "find_images.py"
    process = without_packages(program, recipe, "cat", "dog", forbidden=packages)
    out, err = process.communicate()
    # A library may have something to say on stderr the first time it is used.
    assert process.returncode == 0, err.decode()
    assert out.decode().strip() == "['cat cat', 'dog dog', 'owl None']"
