"""Start weights: how a student begins, and that a killed training ends as another would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

from benchmarks.weights import lite0, train_start
from edgedistill.students import build_backbone, start_projection
from edgedistill.students import weights as student_weights
from edgedistill.teacher.open_clip import load_teacher

SMALL = "mobilenet_v3_small"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a package without start weights."""
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(student_weights, "EMBEDDED_FOLDER", tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def art(tmp_path: Path) -> Path:
    """Six emoji in two styles and in the one that is held out."""
    rng, path = np.random.default_rng(0), tmp_path / "art.npz"
    table = np.frombuffer(json.dumps([{"name": str(i)} for i in range(6)]).encode(), np.uint8)
    arrays = {"table": table}
    for style in ("noto", "fluent", "fxemoji"):
        arrays[style] = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        arrays[f"{style}/emoji"] = np.arange(6)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_the_held_out_style_is_not_trained_on(art: Path) -> None:
    images, emoji, count = train_start.load_art(art)
    assert images.shape == (12, 3, 32, 32)
    assert (emoji.tolist(), count) == ([*range(6), *range(6)], 6)
    assert torch.equal(images[:6].permute(0, 2, 3, 1), torch.from_numpy(np.load(art)["noto"]))


def test_a_killed_training_goes_on_to_the_same_bytes(
    art: Path, tiny_clip: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ["--steps", "3", "--batch", "4", "--size", "32", "--save-every", "1"]
    train_start.main([str(art), str(tiny_clip), *sizes])
    built = cache / "weights" / f"{SMALL}.safetensors"
    whole = built.read_bytes()
    width = build_backbone(SMALL, "embedded")[1]
    teacher = load_teacher(f"local-dir:{tiny_clip}", "", torch.device("cpu"))
    projection = start_projection(SMALL, "embedded", teacher.fingerprint)
    assert projection is not None and projection.shape == (16, width)
    assert start_projection(SMALL, "embedded", "another teacher") is None

    left, augment = [2], train_start.augment

    def killed(images: Tensor, size: int) -> Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return augment(images, size)

    other = art.with_name("other.safetensors")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_start, "augment", killed)
        train_start.main([str(art), str(tiny_clip), str(other), *sizes])
    assert other.read_bytes() != whole
    train_start.main([str(art), str(tiny_clip), str(other), *sizes])
    assert other.read_bytes() == whole
    with pytest.raises(SystemExit, match="of another training"):
        train_start.main([str(art), str(tiny_clip), str(other), *sizes[:-4], "--size", "48"])

    train_start.main([str(art), str(tiny_clip), str(other), *sizes, "--int8"])
    assert len(other.read_bytes()) < 0.6 * len(whole)
    close, _ = build_backbone(SMALL, str(other))
    for name, tensor in build_backbone(SMALL, "embedded")[0].state_dict().items():
        assert torch.allclose(close.state_dict()[name], tensor, atol=tensor.abs().max() / 200)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_network_alone_computes_in_bfloat16(dtype: torch.dtype | None) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5, bias=False))
    seen = []
    net[2].register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    training = train_start.Training(net, 0.01, "", dtype)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    target = torch.eye(5)[:2]
    loss = training.update(torch.rand(2, 3, 8, 8), target, np.arange(2), steps=9)
    assert seen == [dtype or torch.float32] and np.isfinite(loss)
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == training.average[name].dtype == torch.float32
        assert not torch.equal(tensor, before[name])


@pytest.fixture(scope="module")
def lite() -> nn.Module:
    """Lite0 with padding as torchvision's, in evaluation with the statistics of some noise."""
    torch.manual_seed(0)
    net = timm.create_model("efficientnet_lite0", bn_eps=lite0.EPSILON, num_classes=0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(torch.randn(4, 3, 64, 64))
    return net.eval()


def tensors_of(net: nn.Module) -> list[Tensor]:
    return [t for name, t in net.state_dict().items() if "num_batches" not in name]


class TestLite0:
    def test_with_its_activation_and_without_gates_b0_is_lite0(self, lite: nn.Module) -> None:
        backbone, _ = build_backbone("efficientnet_b0")
        lite0.start_from_lite0(backbone, tensors_of(lite))
        gates = [m for m in backbone.modules() if isinstance(m, SqueezeExcitation)]
        assert len(gates) == 16
        with torch.no_grad():
            for gate in gates:
                opened = gate._scale(torch.zeros(1, gate.fc1.in_channels, 2, 2))
                assert 0.9 < float(opened.mean()) < 1
        for module in list(backbone.modules()):
            for name, child in module.named_children():
                if isinstance(child, SqueezeExcitation):
                    setattr(module, name, nn.Identity())
                elif isinstance(child, nn.SiLU):
                    setattr(module, name, nn.ReLU6())
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            features, expected = backbone.eval()(x), lite(x)
        assert float(expected.std()) > 0.1
        assert float((features - expected).abs().max()) < 1e-3

    def test_tensors_that_do_not_line_up_are_refused(self, lite: nn.Module) -> None:
        backbone, _ = build_backbone("efficientnet_b0")
        tensors = tensors_of(lite)
        for wrong in (tensors[:-1], [*tensors, tensors[0]], tensors[::-1]):
            with pytest.raises(SystemExit, match="do not line up"):
                lite0.start_from_lite0(backbone, wrong)

    def test_it_is_for_one_student(self) -> None:
        with pytest.raises(SystemExit, match="efficientnet_b0 only"):
            train_start.build_net(SMALL, "lite0", 16)
