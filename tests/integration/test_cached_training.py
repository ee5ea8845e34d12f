"""Training from the cache and with the teacher on the fly: the same pixels, the same losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.store import image_store as store
from edgedistill.data.views import ViewBatch, view_spec
from edgedistill.methods import METHODS
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import resolve
from edgedistill.runs.pipeline import Stages
from edgedistill.runs.stages.prepare import Prepared, class_texts, find_teacher
from edgedistill.students import architecture
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.view_cache.settings import ViewCacheSettings, locate_cache
from edgedistill.train.batches import Batch
from edgedistill.train.context import TeacherFn, TrainContext
from edgedistill.train.optim import build_optimizers
from edgedistill.train.step import train_step
from edgedistill.train.validation import SourceValidation

CPU = torch.device("cpu")
# Half precision moves a cosine by up to 5e-4, either way, and a loss is a mean over images.
HALF_PRECISION = 1e-3
# Embeddings that were rounded alike still meet different sums.
ROUNDING = 1e-4


@pytest.fixture
def recipe_of(tree_of: Callable[..., dict[str, Any]]) -> Callable[..., Recipe]:
    return lambda name, count: resolve(
        tree_of(method={"name": name}, views={"count": count}, train={"batch_per_domain": 6})
    )


def task_of(recipe: Recipe, views: int) -> TrainContext:
    """The training context of a recipe; its steps choose among `views` views."""
    stages = Stages.of(recipe)
    prepare = stages.prepare
    dataset = resolve_split(recipe.data)
    teacher = find_teacher(recipe.teacher, CPU, required=True)
    assert teacher is not None
    kind = METHODS[recipe.method.name]
    hyper = kind.Hyper()
    text = class_texts(recipe.prompts, dataset, teacher, sentences=kind.sentences(hyper))
    method = kind(hyper, text=text)
    student, openset, _ = prepare.build_student(method, len(dataset.split.known), teacher, CPU)
    images = prepare.decode(dataset, teacher)
    prepared = Prepared(dataset, images, teacher, text, method, student, openset, {})
    return TrainContext(
        student=student,
        method=method,
        images=images.train,
        spec=view_spec(recipe.views),
        views=views,
        teacher_fn=stages.teach(prepared),
        text=text,
        validator=SourceValidation(openset, images.val),
        size=recipe.student.size,
        settings=recipe.train,
        seed=recipe.seed,
        device=CPU,
    )


def folder_of(recipe: Recipe, teacher: Teacher) -> Path:
    """Where the view cache of a recipe lies."""
    student = architecture(recipe.student.model)
    settings = ViewCacheSettings.of(recipe.views, recipe.teacher, (student.mean, student.std))
    return locate_cache(settings, teacher, resolve_split(recipe.data).index).folder


def first_step(context: TrainContext) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What the student saw in the step, and its losses."""
    seen: list[torch.Tensor] = []

    def forward(x: torch.Tensor) -> Any:
        seen.append(x.detach().clone())
        return context.student(x)

    optimizers = build_optimizers(
        context.method.param_groups(context.student.backbone, context.student.head),
        "sgd",
        lr=0.01,
        weight_decay=0.0,
        momentum=0.9,
        nesterov=True,
        count=context.method.optimizers,
    )
    context.student.train()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    losses = train_step(context, forward, optimizers, scaler, step=0)
    return seen[-1], losses


def rounded(teacher_fn: TeacherFn) -> TeacherFn:
    """A teacher whose embeddings went through half precision, as the cache's did."""

    def embeddings(batch: Batch, views: ViewBatch, rows: torch.Tensor | None) -> torch.Tensor:
        return F.normalize(teacher_fn(batch, views, rows).half().float(), dim=1)

    return embeddings


def astray(teacher_fn: TeacherFn) -> TeacherFn:
    """A teacher that speaks of the other one of two views."""
    return lambda batch, views, rows: teacher_fn(replace(batch, views=1 - batch.views), views, rows)


def of_next_image(teacher_fn: TeacherFn) -> TeacherFn:
    """A teacher that speaks of the next image of the batch."""
    return lambda batch, views, rows: teacher_fn(batch, views, rows).roll(1, dims=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_from_the_cache_is_a_step_with_the_teacher_but_for_half_precision(
    name: str, recipe_of: Callable[..., Recipe]
) -> None:
    cached, fly = task_of(recipe_of(name, 2), views=2), task_of(recipe_of(name, 0), views=2)
    pixels, losses = first_step(cached)
    other_pixels, other_losses = first_step(fly)
    assert torch.equal(pixels, other_pixels)
    assert losses.keys() == other_losses.keys()
    if cached.teacher_fn is None:
        assert fly.teacher_fn is None
        assert all(torch.equal(losses[term], other_losses[term]) for term in losses)
        return
    assert fly.teacher_fn is not None
    for term, value in losses.items():
        assert value.item() == pytest.approx(other_losses[term].item(), abs=HALF_PRECISION), term
    half = replace(task_of(recipe_of(name, 0), views=2), teacher_fn=rounded(fly.teacher_fn))
    _, half_losses = first_step(half)
    for term, value in losses.items():
        # Now only embeddings on the edge between two halves may differ.
        assert value.item() == pytest.approx(half_losses[term].item(), abs=ROUNDING), term
    # The embeddings of another view do not pass.
    _, wrong = first_step(
        replace(task_of(recipe_of(name, 2), views=2), teacher_fn=astray(cached.teacher_fn))
    )
    assert max(abs(wrong[term] - half_losses[term]).item() for term in wrong) > 2 * ROUNDING
    # Those of another image do not even pass for what half precision may do.
    _, other = first_step(
        replace(task_of(recipe_of(name, 2), views=2), teacher_fn=of_next_image(cached.teacher_fn))
    )
    assert abs(other["loss"] - other_losses["loss"]).item() > HALF_PRECISION


def test_a_packed_store_read_as_it_is_used_trains_the_same(
    recipe_of: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, losses = first_step(task_of(recipe_of("scipd", 2), views=2))
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "PACK_ABOVE", 0)
    monkeypatch.setattr(store, "RAM_LIMIT", 0)
    packed = task_of(recipe_of("scipd", 2), views=2)
    assert packed.images.images.pixels is None
    packed_pixels, packed_losses = first_step(packed)
    assert torch.equal(pixels, packed_pixels)
    assert all(torch.equal(losses[term], packed_losses[term]) for term in losses)


def test_recipes_over_the_same_images_share_a_cache(
    tree_of: Callable[..., dict[str, Any]],
) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"method": {"name": "scmd"}},
        {"student": {"model": "resnet18", "size": 64}},
        {"data": {"target": "paint", "split_seed": 3, "val_fraction": 0.4}},
        {"data": {"unknown": ["circle", "cross"]}, "prompts": {"templates": ["{}"]}},
        {"train": {"steps": 9, "average": "ema"}, "openset": {"acceptance": 0.9}},
    ]
    trees = [tree_of(**change) for change in changes]
    recipes = [resolve(tree) for tree in (*trees, {**trees[0], "seed": 5})]
    teacher = find_teacher(recipes[0].teacher, CPU, required=True)
    assert teacher is not None
    folders = {folder_of(recipe, teacher) for recipe in recipes}
    assert len(folders) == 1
    other = resolve(tree_of(views={"seed": 1}))
    assert folder_of(other, teacher) not in folders
