"""A stand-in for the teacher's class texts, and small heads and batches around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.methods import METHODS, Method, StudentOutput, TeacherOutputs
from edgedistill.methods.base import SourceRows

CLASSES, WIDTH, FEATURES, BATCH = 5, 8, 6, 12


@dataclass(frozen=True)
class Texts:
    """The part of the teacher's text bank that methods use."""

    pooled: Tensor
    logit_scale: float = 100.0
    pool: str = "mean"
    sentences: Tensor | None = None

    def cosines(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.pooled.to(embeddings.dtype).T


@dataclass
class Setting:
    method: Method[Any, Any]
    backbone: nn.Module
    head: nn.Module
    images: Tensor
    labels: Tensor
    teacher_outputs: TeacherOutputs
    rows: SourceRows

    def output(self) -> StudentOutput:
        out: StudentOutput = self.head(self.backbone(self.images))
        return out

    def losses(self) -> dict[str, Tensor]:
        return self.method.losses(
            self.head, self.output(), self.labels, self.teacher_outputs, self.rows
        )


@pytest.fixture
def make_texts() -> type[Texts]:
    return Texts


@pytest.fixture
def make_setting() -> Callable[..., Setting]:
    def make(name: str, *, device: str = "cpu", logit_scale: float = 20.0, **hyper: Any) -> Setting:
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        kind, own = METHODS[name], torch.Generator().manual_seed(2)
        pooled = F.normalize(normal(CLASSES, WIDTH), dim=-1).to(device)
        count = len(kind.sentences(kind.Hyper(**hyper)))
        sentences = F.normalize(torch.randn(count, CLASSES, WIDTH, generator=own), dim=-1)
        texts: Any = Texts(pooled, logit_scale, sentences=sentences.to(device) if count else None)
        method = kind(kind.Hyper(**hyper), text=texts)
        torch.manual_seed(1)
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(12, FEATURES), nn.ReLU())
        head = method.head(FEATURES, CLASSES)
        return Setting(
            method,
            backbone.to(device),
            head.to(device),
            normal(BATCH, 3, 2, 2).to(device),
            (torch.arange(BATCH) % CLASSES).to(device),
            TeacherOutputs(F.normalize(normal(BATCH, WIDTH), dim=-1).to(device), texts),
            SourceRows(
                (torch.arange(BATCH) % 3).to(device),
                3,
                torch.arange(BATCH).roll(1).to(device),
                torch.linspace(0.5, 1, BATCH).to(device),
            ),
        )

    return make
