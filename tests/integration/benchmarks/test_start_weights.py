"""Start weights: the drawings and recipes that they come from, and Lite0's weights as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

from benchmarks.weights import lite0
from benchmarks.weights.art import write_png
from edgedistill.pretraining.images import list_images
from edgedistill.recipe.pretraining import read_pretraining
from edgedistill.students import architecture, build_backbone
from edgedistill.teacher.open_clip import load_teacher


def test_drawings_become_files_by_their_code_points(tmp_path: Path) -> None:
    drawings = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    write_png(tmp_path / "noto", drawings, ["1f600", "2764-fe0f"])
    listing = list_images([str(tmp_path)])
    assert listing.paths == ("noto/1f600.png", "noto/2764-fe0f.png")
    assert np.array_equal(np.asarray(Image.open(listing.path(1))), drawings[1])


@pytest.mark.parametrize(
    "path", sorted(Path(lite0.__file__ or "").parent.glob("start_*.toml")), ids=lambda p: p.stem
)
def test_the_recipes_of_the_start_weights(path: Path) -> None:
    recipe = read_pretraining(path)
    assert path.stem == f"start_{recipe.student.model}"
    assert recipe.student.size == architecture(recipe.student.model).embedded_size
    # Nothing of the benchmark is looked at.
    assert recipe.data.labelled is None and recipe.teacher.model == "emoji-clip"


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

    def test_the_files_of_a_teacher_and_a_student(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        net = timm.create_model("tf_efficientnet_lite0", num_classes=0)
        monkeypatch.setattr(lite0, "lite0_tensors", lambda: tensors_of(net))
        teacher, student = lite0.write_files(tmp_path)
        loaded = load_teacher(lite0.TIMM, str(teacher), torch.device("cpu"), 96)
        pixels = torch.rand(1, 3, 96, 96)
        mean, std = (torch.tensor(v)[:, None, None] for v in (loaded.mean, loaded.std))
        with torch.no_grad():
            expected = nn.functional.normalize(net.eval()((pixels - mean) / std), dim=1)
        torch.testing.assert_close(loaded.encode_images(pixels), expected, atol=1e-5, rtol=1e-4)
        stem = build_backbone("efficientnet_b0", str(student))[0].state_dict()
        assert torch.equal(next(iter(stem.values())), tensors_of(net)[0])
