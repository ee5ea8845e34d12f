"""torchvision's networks as students, beyond those that are registered."""

from __future__ import annotations

import pytest
import torch
from culprits import raises

from edgedistill.errors import RecipeError
from edgedistill.students import STUDENTS, architecture, build_backbone


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v2", 1280),
        ("shufflenet_v2_x0_5", 1024),
        ("mnasnet0_5", 1280),
        ("densenet121", 1024),
    ],
)
def test_any_classifier_that_ends_in_linear_layers(name: str, width: int) -> None:
    assert name not in list(STUDENTS)
    backbone, feature_dim = build_backbone(name)
    assert feature_dim == width
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, width)


# Auxiliary outputs, convolutions or a norm behind the pooling, a fixed side, no classifier.
@pytest.mark.parametrize(
    "name", ["googlenet", "squeezenet1_0", "convnext_tiny", "vit_b_16", "fcn_resnet50", "resnet"]
)
def test_others_are_no_students(name: str) -> None:
    assert name not in STUDENTS
    with raises(RecipeError, f"'{name}'", "timm/NAME"):
        architecture(name)
