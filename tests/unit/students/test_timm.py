"""timm's networks as students: what comes from timm's configuration, sizes, and weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from culprits import raises
from safetensors.torch import save_file

from edgedistill.errors import RecipeError, WeightsError
from edgedistill.students import architecture, build_backbone
from edgedistill.students.timm import TimmArchitecture

VIT, RESNET = "timm/test_vit", "timm/test_resnet"


@pytest.fixture(autouse=True)
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise OSError("no\nnetwork")

    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)


def placed(name: str) -> Path:
    network = architecture(name)
    assert isinstance(network, TimmArchitecture)
    path = network.placed_file()
    path.parent.mkdir(parents=True)
    return path


def test_statistics_and_size_come_from_timm() -> None:
    vit, net = architecture(VIT), architecture("timm/mobilenetv4_conv_small")
    assert (vit.mean, vit.std, vit.fixed_size) == ((0.5,) * 3, (0.5,) * 3, True)
    assert net.mean == (0.485, 0.456, 0.406) and not net.fixed_size


@pytest.mark.parametrize(
    "name", [VIT, RESNET, "timm/test_efficientnet", "timm/test_resnet.r160_in1k"]
)
def test_features_have_the_width_that_is_returned(name: str) -> None:
    backbone, width = build_backbone(name, size=48)
    assert backbone.training
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(2, 3, 48, 48)).shape == (2, width)
    assert not any(key.startswith(("head.", "fc.", "classifier.")) for key in backbone.state_dict())


@pytest.mark.parametrize(
    ("name", "width"), [("timm/efficientnet_b0", 1280), ("timm/tf_mobilenetv3_small_075", 1024)]
)
def test_the_sci_pd_authors_other_students(name: str, width: int) -> None:
    """As timm builds them, without torchvision's stochastic depth."""
    backbone, features = build_backbone(name, size=224)
    assert features == width
    dropped = [m for m in backbone.modules() if "droppath" in type(m).__name__.lower()]
    assert all(getattr(m, "drop_prob", 0) == 0 for m in dropped)


def test_a_size_that_does_not_fit_names_the_key() -> None:
    with raises(RecipeError, "student.size", VIT, 33, 160):
        build_backbone(VIT, size=33)


def test_an_unknown_name_gets_the_nearest() -> None:
    with raises(RecipeError, "mobilenetv4_conv_small"):
        architecture("timm/mobilenetv4_conv_smal")
    with raises(RecipeError, "no_such_tag"):
        architecture("timm/test_resnet.no_such_tag")


@pytest.mark.parametrize(("name", "size"), [(RESNET, 64), (VIT, 160), (VIT, 64)])
def test_a_file_placed_by_hand_is_loaded_by_timm(name: str, size: int) -> None:
    whole = timm.create_model(name.removeprefix("timm/"))
    save_file(whole.state_dict(), placed(name))
    backbone, _ = build_backbone(name, "imagenet", size)
    for key, tensor in backbone.state_dict().items():
        if key != "pos_embed" or size == 160:
            assert torch.equal(tensor, whole.state_dict()[key]), key


def test_without_a_hub_the_error_says_which_file_to_put_where() -> None:
    repository = "huggingface.co/timm/test_resnet.r160_in1k"
    with raises(WeightsError, repository, placed(RESNET)):
        build_backbone(RESNET, "imagenet", 64)


def test_a_file_that_lacks_tensors_is_refused() -> None:
    file = placed(RESNET)
    state = timm.create_model("test_resnet").state_dict()
    save_file({k: t for k, t in state.items() if k != "conv1.0.weight"}, file)
    with raises(WeightsError, "conv1.0.weight"):
        build_backbone(RESNET, "imagenet", 64)


@pytest.mark.parametrize(
    ("name", "weights"), [(RESNET, "imagenet-v2"), ("timm/ghostnet_050", "imagenet")]
)
def test_weights_that_timm_does_not_publish(name: str, weights: str) -> None:
    with raises(WeightsError, name.removeprefix("timm/"), f"'{weights}'"):
        build_backbone(name, weights, 64)
