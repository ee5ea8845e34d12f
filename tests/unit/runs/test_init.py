"""The first recipe of one's own images: what is decided from what was seen."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises
from PIL import Image

import edgedistill as ed
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.errors import DataError, RecipeError, UsageError, WeightsError
from edgedistill.recipe import Recipe, load_recipe
from edgedistill.recipe.schema import DataSection
from edgedistill.runs.first_recipe import Decisions, WeightsChoice, length, store_side
from edgedistill.teacher.check import TeacherCheck

RNG = np.random.default_rng(3)


def tree(root: Path, **images: int) -> Path:
    """A folder `class/*` with so many different images of each class."""
    for name, count in images.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{number}.png")
    return root


def written(data: Path, **options: Any) -> tuple[ed.Scaffold, Recipe]:
    options = {"weights": "embedded", "out": data.parent / "own.toml", "force": True, **options}
    scaffold = ed.init(data, callbacks=[], **options)
    assert scaffold.path.read_text(encoding="utf-8") == scaffold.text
    assert len(scaffold.text.splitlines()) <= 25
    assert all("#" in line for line in scaffold.text.splitlines() if not line.startswith("["))
    return scaffold, load_recipe(scaffold.path)


def fact(scaffold: ed.Scaffold, heading: str) -> str:
    return "\n".join(line for name, line in scaffold.facts if name == heading)


def test_two_classes_of_one_domain(tmp_path: Path) -> None:
    scaffold, recipe = written(tree(tmp_path / "photos", cat=10, dog=12))
    assert recipe.data.dataset == str(tmp_path / "photos") and recipe.data.target is None
    assert recipe.method.name == "erm" and recipe.teacher.model is None
    assert (recipe.student.weights, recipe.student.size) == ("embedded", 96)
    assert recipe.views.store_size == 128
    assert recipe.train.balance == "none" and recipe.openset.keep == 0.95
    # Of each class a fifth is tested, and a fifth of the rest validates.
    assert recipe.train.batch_per_domain == 14 and recipe.train.steps == 300
    assert "14 training, 4 validation, 4 test images held out" in fact(scaffold, "split")
    assert "22" in fact(scaffold, "images") and "cat, dog" in fact(scaffold, "classes")
    assert "8 to 8 px" in fact(scaffold, "sizes")
    assert not fact(scaffold, "copies") and not fact(scaffold, "unknown")


def test_a_class_of_nothing_is_unknown(tmp_path: Path) -> None:
    scaffold, recipe = written(tree(tmp_path / "photos", cat=10, dog=10, Other=4))
    assert recipe.data.unknown == ["Other"]
    assert "Other" in fact(scaffold, "unknown") and "1 unknown" in scaffold.text


def test_a_class_that_only_the_target_has_is_unknown(tmp_path: Path) -> None:
    for domain in ("day", "night"):
        tree(tmp_path / "photos" / domain, cat=10, dog=10)
    tree(tmp_path / "photos" / "night", zebra=5)
    scaffold, recipe = written(tmp_path / "photos", target="night")
    assert recipe.data.unknown == ["zebra"]
    assert "without training images" in fact(scaffold, "unknown")
    assert resolve_split(recipe.data).split.unknown == ("zebra",)
    # Where every domain is trained on, it is a class like the others.
    _, recipe = written(tmp_path / "photos")
    assert recipe.data.unknown is None


def test_a_class_given_for_the_test_alone_is_unknown(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        tree(tmp_path / "photos" / part, cat=10, dog=10)
    tree(tmp_path / "photos" / "test", zebra=5, other=5)
    _, recipe = written(tmp_path / "photos")
    assert sorted(recipe.data.unknown or ()) == ["other", "zebra"]
    assert len(resolve_split(recipe.data).target) == 30


def test_rare_classes_are_balanced(tmp_path: Path) -> None:
    _, recipe = written(tree(tmp_path / "a", cat=8, dog=30))
    assert recipe.train.balance == "none"
    scaffold, recipe = written(tree(tmp_path / "b", cat=8, dog=60))
    assert recipe.train.balance == "class"
    assert "(cat)" in fact(scaffold, "classes") and "(dog)" in fact(scaffold, "classes")


def test_a_target_is_held_out(shapes: Path, tmp_path: Path) -> None:
    _, recipe = written(shapes, target="sea", out=tmp_path / "a.toml")
    assert recipe.data.target == "sea"
    assert recipe.train.batch_per_domain == 64 // 3
    other = tree(tmp_path / "new", x=3)
    scaffold, recipe = written(shapes, target=str(other), out=tmp_path / "b.toml")
    assert recipe.data.target == str(other)
    assert "3 images without classes in new" in fact(scaffold, "split")
    scaffold, recipe = written(shapes, out=tmp_path / "c.toml")
    assert recipe.data.target is None and '# target = "sea"' in scaffold.text
    with raises(DataError, "'seal'", "'sea'"):
        ed.init(shapes, target="seal", weights="none", out=tmp_path / "d.toml", callbacks=[])
    assert not (tmp_path / "d.toml").exists()


def test_copies_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", cat=10, dog=10)
    shutil.copy(root / "cat" / "cat0.png", root / "dog" / "copy.png")
    scaffold, _ = written(root)
    lines = fact(scaffold, "copies")
    assert "cat/cat0.png" in lines and "dog/copy.png" in lines and "another class" in lines


def test_a_teacher_that_does_not_know_the_images_is_not_distilled(
    shapes: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    teacher = f"local-dir:{tiny_clip}"
    scaffold, recipe = written(shapes, teacher=teacher, out=tmp_path / "own.toml")
    assert recipe.method.name == "erm" and recipe.teacher.model is None
    assert f"{teacher} is not distilled" in scaffold.text
    assert "right on" in fact(scaffold, "teacher") and "erm" in fact(scaffold, "method")
    with raises(WeightsError, tmp_path / "none"):
        ed.init(shapes, teacher=f"local-dir:{tmp_path / 'none'}", weights="none", callbacks=[])


def decisions(shapes: Path, teacher: str | None, check: TeacherCheck | None) -> Decisions:
    return Decisions(
        folder=Path(),
        data=str(shapes),
        target=None,
        student="resnet18",
        dataset=resolve_split(DataSection(dataset=str(shapes))),
        unknown={},
        start=WeightsChoice("imagenet", "as published"),
        size=224,
        store_size=288,
        teacher=teacher,
        check=check,
    )


GOOD = TeacherCheck("ViT-B-32/openai", 40, 0.9, 0.2, 0.95, 60, 0, None, 0.0, "trusted")


def test_a_trusted_teacher_is_distilled(shapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(decisions(shapes, "ViT-B-32/laion2b_s34b_b79k", GOOD).text())
    recipe = load_recipe(path)
    assert (recipe.teacher.model, recipe.teacher.pretrained) == ("ViT-B-32", "laion2b_s34b_b79k")
    assert (recipe.method.name, recipe.openset.score) == ("scipd", "max_cosine")
    assert recipe.train.lr == 0.001 and "90.0 %" in path.read_text()
    path.write_text(decisions(shapes, "hf-hub:org/model", GOOD).text())
    assert load_recipe(path).teacher.model == "hf-hub:org/model"
    assert load_recipe(path).teacher.pretrained == ""
    assert decisions(shapes, "x", None).distils is False


def test_steps_are_passes_over_the_images_within_bounds(tmp_path: Path) -> None:
    def of(**images: int) -> tuple[int, int]:
        root = tree(tmp_path / "-".join(map(str, images.values())), **images)
        return length(resolve_split(DataSection(dataset=str(root))))

    # 0.64 of 20 are 13 training images, and so are those of the other class.
    assert of(a=20, b=20) == (300, 26)
    # 1,024 training images in batches of 64, thirty times.
    assert of(a=800, b=800) == (480, 64)


def test_stored_images_leave_room_for_crops() -> None:
    assert [store_side(side) for side in (64, 96, 224, 1024)] == [80, 128, 288, 1024]


def test_paths_start_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "photos", cat=5, dog=5)
    tree(tmp_path / "emoji", cat=5, dog=5)
    tree(tmp_path / "new", x=2)
    (tmp_path / "recipes").mkdir()
    text = written(Path("photos"), out=Path("own.toml"), target="new")[0].text
    assert 'dataset = "photos" ' in text and 'target = "./new" ' in text
    text = written(Path("photos"), out=Path("recipes/own.toml"), target="new")[0].text
    assert 'dataset = "../photos" ' in text and 'target = "../new" ' in text
    # A folder that is called as a dataset is.
    text = ed.init("./emoji", weights="none", out="own.toml", force=True, callbacks=[]).text
    assert 'dataset = "./emoji" ' in text
    monkeypatch.chdir(tmp_path / "new")
    recipe = load_recipe(tmp_path / "recipes" / "own.toml")
    assert recipe.data.dataset == str(tmp_path / "photos")
    assert recipe.data.target == str(tmp_path / "new")


def test_what_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", cat=5, dog=5)
    path = tmp_path / "own.toml"
    path.write_text("mine")
    with raises(UsageError, path):
        ed.init(root, weights="none", out=path, callbacks=[])
    assert path.read_text() == "mine"
    written(root, out=path, force=True)


def test_nothing_to_tell_apart_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", cat=5)
    with raises(DataError, root, "'cat'"):
        ed.init(root, weights="none", out=tmp_path / "own.toml", callbacks=[])
    with raises(DataError, "nowhere"):
        ed.init(tmp_path / "nowhere", weights="none", out=tmp_path / "own.toml", callbacks=[])
    with raises(RecipeError, "resnet19"):
        ed.init(root, student="resnet19", out=tmp_path / "own.toml", callbacks=[])
    assert not (tmp_path / "own.toml").exists()
