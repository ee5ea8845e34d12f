"""Pretraining on tiny images: what comes out, and what a stop, a kill and bad input do."""

from __future__ import annotations

import csv
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import tomli_w
import torch
from culprits import raises
from safetensors.torch import load_file, save_file

import edgedistill as ed
from edgedistill.callbacks import TrainingStep
from edgedistill.data.mixing import draw_mixing
from edgedistill.data.store.image_store import open_store
from edgedistill.data.views import ViewBatch, draw_views, view_spec
from edgedistill.errors import (
    DataError,
    Interrupted,
    OutputError,
    RecipeError,
    RunFolderError,
    UsageError,
    WeightsError,
)
from edgedistill.methods.heads import ProjectorHead
from edgedistill.pretraining.images import list_and_split, part_of
from edgedistill.recipe.pretraining import read_pretraining
from edgedistill.students import Student, build_backbone, start_projection
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.view_cache.cache import build_view_cache
from edgedistill.teacher.view_cache.plain import embed_images
from edgedistill.train.predict import project

CPU = torch.device("cpu")
Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def recipe_of(shapes: Path, tiny_clip: Path) -> Make:
    """A tiny recipe of a pretraining; sections given are merged over it."""

    def make(**sections: Any) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "data": {"images": [str(shapes)], "held_out": 0.1},
            "views": {"count": 2, "store_size": 36},
            "teacher": {"model": f"local-dir:{tiny_clip}"},
            "student": {"model": "mobilenet_v3_small", "size": 32},
            "train": {
                "steps": 6,
                "batch": 8,
                "warmup_steps": 0,
                "eval_every": 3,
                "checkpoint_every": 2,
            },
        }
        for name, values in sections.items():
            tree[name] = {**tree.get(name, {}), **values} if isinstance(values, dict) else values
        return tree

    return make


@pytest.fixture(scope="module")
def finished(recipe_of: Make, tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Any:
    out = tmp_path_factory.mktemp("pretraining") / "start.safetensors"
    return ed.pretrain((), out, recipe=recipe_of(data={"labelled": str(shapes)}))


class At(ed.Callback):
    """Does something at a step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def on_step(self, step: TrainingStep) -> None:
        if step.step == self.step:
            self.act()


class Heard(ed.Callback):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_note(self, message: str) -> None:
        self.lines.append(message)

    on_warning = on_note


def test_the_figures_of_a_pretraining(finished: Any, shapes: Path) -> None:
    images = len(list(shapes.rglob("*.png")))
    counts = finished.figures["images"]
    assert counts["train"] + counts["held_out"] == images
    assert counts["held_out"] == round(0.1 * images)
    assert [row["step"] for row in finished.history] == [3, 6]
    best = max(row["val_cosine"] for row in finished.history)
    assert finished.figures["cosine"] == pytest.approx(best)
    (selected,) = (r for r in finished.history if r["step"] == finished.figures["selected_step"])
    shown = finished.figures["zero_shot"]
    assert shown["accuracy"] == pytest.approx(selected["val_accuracy"])
    assert 0 <= shown["teacher"]["accuracy"] <= 1
    page = finished.report.read_text(encoding="utf-8")
    assert "mobilenet_v3_small" in page and "data:image/png;base64," in page


def test_figures_json_has_the_documented_keys(finished: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "json-schemas.md"
    section = page.read_text(encoding="utf-8").partition("\n## figures.json\n")[2]
    cells = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert set(finished.figures) == {k for cell in cells for k in re.findall(r"`(\w+)`", cell)}


def test_the_weights_are_those_that_were_measured(finished: Any, recipe_of: Make) -> None:
    tree = recipe_of()
    teacher = load_teacher(tree["teacher"]["model"], "", CPU)
    backbone, width = build_backbone("mobilenet_v3_small", str(finished.path), 32)
    projection = start_projection("mobilenet_v3_small", str(finished.path), teacher.fingerprint)
    assert projection is not None
    listing = list_and_split(tree["data"]["images"], tree["data"]["held_out"])
    held_out = part_of(listing.index, listing.held_out)
    rows = np.arange(len(held_out))
    student = Student(backbone, ProjectorHead(width, teacher.width, projection))
    answers = project(student, open_store(held_out, 32).images(rows), device=CPU)
    images = open_store(held_out, teacher.size).images(rows)
    truth = embed_images(teacher, images[:]).numpy()
    assert float((answers * truth).sum(1).mean()) == pytest.approx(
        finished.figures["cosine"], abs=1e-5
    )


def test_a_finished_pretraining_is_only_read(finished: Any, recipe_of: Make, shapes: Path) -> None:
    before = finished.path.read_bytes()
    tree = recipe_of(data={"labelled": str(shapes)}, device="cpu")
    again = ed.pretrain((), finished.path, recipe=tree)
    assert again.before == "finished" and again.figures == finished.figures
    with raises(RunFolderError, finished.folder, "train.lr"):
        ed.pretrain((), finished.path, recipe=tree, overrides={"train.lr": 0.1})
    assert "lr" not in tree["train"]
    finished.path.unlink()
    assert ed.pretrain((), finished.path, recipe=tree).before == "unfinished"
    assert finished.path.read_bytes() == before


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def die() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("act", "error"), [(interrupt, Interrupted), (die, ZeroDivisionError)], ids=["Ctrl-C", "crash"]
)
@pytest.mark.parametrize(
    "views",
    [{"count": 2}, {"count": 0}, {"count": 2, "mix": 0.5}],
    ids=["cached", "on the fly", "mixed"],
)
def test_stopped_and_gone_on_with_gives_the_same_bytes(
    tmp_path: Path,
    recipe_of: Make,
    act: Callable[[], None],
    error: type[BaseException],
    views: dict[str, Any],
) -> None:
    tree = recipe_of(views=views, loss={"contrast": 0.1})
    whole = ed.pretrain((), tmp_path / "whole.safetensors", recipe=tree)
    out = tmp_path / "cut.safetensors"
    with pytest.raises(error):
        ed.pretrain((), out, recipe=tree, callbacks=[At(5, act)])
    assert not out.exists()
    resumed = ed.pretrain((), out, recipe=tree)
    assert resumed.before == "unfinished"
    assert resumed.path.read_bytes() == whole.path.read_bytes()
    assert resumed.history == whole.history


def test_cached_embeddings_of_mixed_views_are_those_of_the_rendered_ones(
    tmp_path: Path, recipe_of: Make, shapes: Path
) -> None:
    recipe = read_pretraining(recipe_of(views={"mix": 0.7}))
    teacher, spec = load_teacher(str(recipe.teacher.model), "", CPU), view_spec(recipe.views)
    listing = list_and_split([str(shapes)], 0.5)
    images = open_store(listing.index, 36).images(listing.train)
    cache = build_view_cache(tmp_path, teacher, images, spec, 2)
    positions, numbers = np.arange(20) % 10, np.repeat([0, 1], 10)
    paths = (images.paths[row] for row in images.rows[positions])
    batch = ViewBatch(
        torch.from_numpy(images[positions]),
        torch.from_numpy(draw_views(spec, paths, numbers)),
        draw_mixing(spec, images, positions, numbers, torch.from_numpy),
    )
    assert batch.mixing is not None
    rendered = teacher.encode_images(batch.render(teacher.size)).numpy()
    cached = cache.lookup(images.rows[positions], numbers)
    assert cached == pytest.approx(rendered, abs=2e-3)
    plain = batch.pixels, batch.parameters
    unmixed = teacher.encode_images(ViewBatch(*plain).render(teacher.size)).numpy()
    assert np.abs(unmixed - cached).max() > 0.05
    # Other images to mix with: another cache.
    fewer = open_store(listing.index, 36).images(listing.train[:-1])
    assert build_view_cache(tmp_path, teacher, fewer, spec, 2).folder != cache.folder


def test_files_that_cannot_be_read_are_left_out_and_named(
    tmp_path: Path, recipe_of: Make, photos: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for file in photos.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for number in range(4):
        (folder / f"broken{number}.png").write_bytes(b"no image")
    heard = Heard()
    tree = recipe_of(data={"images": [str(folder)], "held_out": 0.4})
    made = ed.pretrain((), tmp_path / "a.safetensors", recipe=tree, callbacks=[heard])
    counts = made.figures["images"]
    assert counts["train"] + counts["held_out"] == 4
    assert any("broken0.png" in line for line in heard.lines)
    assert any("broken0.png" in line for line in counts["left_out"])


def test_a_pretraining_goes_on_from_the_weights_of_another(
    finished: Any, tmp_path: Path, recipe_of: Make
) -> None:
    tree = recipe_of(student={"weights": str(finished.path)}, train={"lr": 1e-9}, save="int8")
    again = ed.pretrain((), tmp_path / "more.safetensors", recipe=tree)
    # Batch norm's running statistics still move.
    assert again.figures["cosine"] == pytest.approx(finished.figures["cosine"], abs=0.1)
    assert again.path.stat().st_size < finished.path.stat().st_size / 3


def test_arguments_and_a_recipe_file(tmp_path: Path, recipe_of: Make, shapes: Path) -> None:
    tree = recipe_of()
    del tree["data"]["images"]
    file = tmp_path / "mine.toml"
    file.write_text(tomli_w.dumps(tree))
    with raises(RecipeError, file, "data.images"):
        ed.pretrain((), recipe=file)
    made = ed.pretrain(shapes, tmp_path / "a.safetensors", recipe=file, overrides=["train.steps=2"])
    with open(made.folder / "history.csv", newline="") as history:
        assert [row["step"] for row in csv.DictReader(history)] == ["2"]


def test_what_a_pretraining_refuses(tmp_path: Path, recipe_of: Make, tiny_clip: Path) -> None:
    out = tmp_path / "a.safetensors"

    def refused(kind: Any, *culprits: Any, **sections: Any) -> None:
        with raises(kind, *culprits):
            ed.pretrain((), out, recipe=recipe_of(**sections))
        assert list(tmp_path.iterdir()) == []

    with raises(UsageError):
        ed.pretrain(())
    with raises(UsageError, tmp_path / "start.pth"):
        ed.pretrain((), tmp_path / "start.pth", recipe=recipe_of())
    deep = tmp_path / "new" / "a.safetensors"
    with raises(WeightsError):
        ed.pretrain((), deep, recipe=recipe_of(student={"weights": str(tmp_path / "w.pth")}))
    (tmp_path / "a.safetensors").mkdir()
    with raises(OutputError, out):
        ed.pretrain((), out, recipe=recipe_of())
    out.rmdir()
    refused(DataError, "data.images", data={"images": [str(tmp_path / "nowhere")]})
    refused(RecipeError, "data.imges", "images", data={"imges": ["x"]})
    refused(RecipeError, "loss", "words", loss={"vocabulary": 0.1})
    refused(RecipeError, "teacher.size", teacher={"size": 64})
    refused(DataError, "nosuch", data={"labelled": "nosuch"})
    refused(WeightsError, tmp_path / "w.pth", student={"weights": str(tmp_path / "w.pth")})


@pytest.fixture(scope="module")
def image_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network of timm, classifier included."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model("test_efficientnet")
    file = tmp_path_factory.mktemp("timm") / "weights.safetensors"
    save_file({k: t.contiguous() for k, t in network.state_dict().items()}, file)
    return file


def test_a_network_of_timm_as_teacher(
    tmp_path: Path, recipe_of: Make, image_teacher: Path, tree_of: Make, shapes: Path
) -> None:
    section = {
        "model": "timm/test_efficientnet",
        "pretrained": str(image_teacher),
        "size": 48,
    }
    teacher = load_teacher(section["model"], str(image_teacher), CPU, 48)
    network = timm.create_model("test_efficientnet", num_classes=0).eval()
    network.load_state_dict(load_file(image_teacher), strict=False)
    pixels = torch.rand(2, 3, 48, 48)
    mean, std = (torch.tensor(v)[:, None, None] for v in (teacher.mean, teacher.std))
    with torch.no_grad():
        pooled = torch.nn.functional.normalize(network((pixels - mean) / std), dim=1)
    torch.testing.assert_close(teacher.encode_images(pixels), pooled, atol=1e-5, rtol=1e-4)
    made = ed.pretrain((), tmp_path / "a.safetensors", recipe=recipe_of(teacher=section))
    assert made.figures["teacher"]["width"] == pooled.shape[1]
    with raises(RecipeError, "teacher.model", "edgedistill pretrain"):
        ed.pretrain(
            (),
            tmp_path / "b.safetensors",
            recipe=recipe_of(teacher=section, data={"labelled": str(shapes)}),
        )
    with raises(RecipeError, "teacher.model", "edgedistill pretrain"):
        ed.run(tree_of(teacher=section), tmp_path / "run")
    with raises(WeightsError, "teacher.pretrained", tmp_path / "none.pth"):
        load_teacher(section["model"], str(tmp_path / "none.pth"), CPU)
