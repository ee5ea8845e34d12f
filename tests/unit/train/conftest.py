"""A tiny training context that the tests of training share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.views import ViewBatch, ViewSpec
from edgedistill.methods import METHODS
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.schema import TrainSection
from edgedistill.students import Student
from edgedistill.teacher.text import build_text_bank
from edgedistill.train.batches import Batch
from edgedistill.train.context import TrainContext
from edgedistill.train.device import autocast_dtype
from edgedistill.train.validation import SourceValidation

CLASSES, WIDTH = 3, 8
# Loads them in the package's order, which the reference shows, before a test imports one by itself.
METHOD_NAMES = tuple(METHODS)
SPEC = ViewSpec(0, (0.5, 1.0), (0.75, 4 / 3), 0.5, 0.3, 0.3, 0.3, 0.1, 0.1)


@pytest.fixture(scope="session")
def tiny_context() -> Callable[..., TrainContext]:
    """Makes a context of 16 training images of two domains and three classes, and of 8 steps.

    Up to eight images without a label join the training.
    """
    return _make_context


def _make_context(
    name: str = "scipd",
    hyper: dict[str, Any] | None = None,
    seed: int = 0,
    unlabelled: int = 0,
    **settings: Any,
) -> TrainContext:
    rng = np.random.default_rng(0)
    count, side = 24, 12
    labels = np.arange(count) % CLASSES
    pixels = rng.integers(0, 120, (count, side, side, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, labels] += 90
    paths = tuple(f"d{i % 2}/c{i % CLASSES}/{i}.png" for i in range(count))

    def labelled(rows: slice) -> LabelledImages:
        numbers = np.arange(count)[rows]
        by_domain = tuple(np.flatnonzero(numbers % 2 == domain) for domain in (0, 1))
        images = ImageSet.from_array(pixels[rows], paths, numbers)
        return LabelledImages(images, labels[rows], by_domain)

    train = labelled(slice(16))
    if unlabelled:
        more = ImageSet.from_array(
            rng.integers(0, 255, (unlabelled, side, side, 3), dtype=np.uint8),
            tuple(f"any/{i}.png" for i in range(unlabelled)),
        )
        more = replace(more, root=Path("/pool"))
        labels_of_all = np.concatenate([train.labels, np.full(unlabelled, -1)])
        train = LabelledImages(ImageSet.join([train.images, more]), labels_of_all, train.domains)

    generator = torch.Generator().manual_seed(1)
    vectors = F.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)

    def encode(texts: list[str]) -> torch.Tensor:
        return vectors[: len(texts)]

    kind = METHODS[name]
    chosen = kind.Hyper(**(hyper or {}))
    names = [["a"], ["b"], ["c"]]
    text = build_text_bank(encode, names, ["{}"], "best", 20.0, kind.sentences(chosen))
    method = kind(chosen, text=text)
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    student = Student(backbone, method.head(6, CLASSES))
    student.to(memory_format=torch.channels_last)

    def teacher_fn(batch: Batch, views: ViewBatch, rows: torch.Tensor | None) -> torch.Tensor:
        embeddings = vectors[batch.positions]
        return embeddings if rows is None else embeddings[rows]

    section = {
        "precision": "fp32",
        "steps": 8,
        "batch_per_domain": 4,
        "warmup_steps": 2,
        "eval_every": 3,
        "checkpoint_every": 4,
        **settings,
    }
    return TrainContext(
        student=student,
        method=method,
        images=train,
        spec=SPEC,
        views=3,
        teacher_fn=teacher_fn if method.needs_teacher else None,
        text=text if method.needs_teacher else None,
        validator=SourceValidation(OpenSetHead("max_logit"), labelled(slice(16, None))),
        size=side,
        settings=TrainSection(**section),
        seed=seed,
        device=torch.device("cpu"),
        dtype=autocast_dtype(section["precision"], torch.device("cpu"), "none"),
    )
