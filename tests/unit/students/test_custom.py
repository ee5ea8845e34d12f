"""Students made by a function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from culprits import raises
from torch import nn

from edgedistill.errors import RecipeError, WeightsError
from edgedistill.recipe import resolve
from edgedistill.registries import STUDENTS
from edgedistill.students import architecture, build_backbone


class Pooled(nn.Module):
    """A convolution and a mean."""

    mean = (0.5, 0.25, 0.125)
    default_size = 48

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 7, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images).mean((2, 3))


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    STUDENTS.register("pooled")(Pooled)
    STUDENTS.register("unpooled")(lambda: nn.Conv2d(3, 7, 3))
    yield
    STUDENTS.unregister("pooled")
    STUDENTS.unregister("unpooled")


def test_width_statistics_and_docs_line_are_the_module_s() -> None:
    backbone, width = build_backbone("pooled", size=32)
    assert isinstance(backbone, Pooled) and backbone.training and width == 7
    student = architecture("pooled")
    assert (student.mean, student.std) == (Pooled.mean, (0.229, 0.224, 0.225))
    assert STUDENTS.summary("pooled") == "A convolution and a mean"


@pytest.mark.parametrize(("given", "size"), [({}, 48), ({"size": 40}, 40)])
def test_the_input_side_is_the_module_s_where_a_recipe_names_none(
    given: dict[str, Any], size: int
) -> None:
    sections = {"data": {"target": "camera"}, "method": {"name": "erm"}}
    recipe = resolve({**sections, "student": {"model": "pooled", **given}})
    assert recipe.student.size == size


def test_a_module_without_pooling_is_refused() -> None:
    with raises(RecipeError, "student.size", "[B, d]", "[1, 7, 30, 30]"):
        build_backbone("unpooled", size=32)


def test_nothing_is_published_for_it() -> None:
    with raises(WeightsError, "student.weights", "'imagenet'"):
        build_backbone("pooled", "imagenet", 32)
