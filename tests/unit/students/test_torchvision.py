"""torchvision's networks as students, beyond those that are registered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from culprits import raises
from torchvision import models

from edgedistill.errors import RecipeError
from edgedistill.students import STUDENTS, architecture, build_backbone


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("mobilenet_v2", 1280),
        ("shufflenet_v2_x0_5", 1024),
        ("mnasnet0_5", 1280),
        ("densenet121", 1024),
        ("regnet_y_400mf", 440),
        ("convnext_tiny", 768),
    ],
)
def test_any_classifier_that_ends_in_linear_layers(name: str, width: int) -> None:
    assert name not in list(STUDENTS)
    state = torch.random.get_rng_state()
    architecture(name)
    assert torch.equal(torch.random.get_rng_state(), state)
    backbone, feature_dim = build_backbone(name)
    assert feature_dim == width
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, width)


def test_published_weights_of_a_norm_before_the_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1.url
    file = tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    whole = models.convnext_tiny(weights=None)
    torch.nn.init.normal_(whole.get_parameter("classifier.0.weight"))
    torch.save(whole.state_dict(), file)
    backbone, _ = build_backbone("convnext_tiny", "imagenet")
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = whole.eval()(pixels)
        features = backbone.eval()(pixels)
        assert torch.equal(whole.get_submodule("classifier.2")(features), expected)


# Auxiliary outputs, convolutions behind the pooling, a fixed side, no classifier.
@pytest.mark.parametrize(
    "name", ["googlenet", "squeezenet1_0", "maxvit_t", "vit_b_16", "fcn_resnet50", "resnet"]
)
def test_others_are_no_students(name: str) -> None:
    assert name not in STUDENTS
    with raises(RecipeError, f"'{name}'", "timm/NAME"):
        architecture(name)
