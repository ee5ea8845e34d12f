"""Students: shapes, where weights come from, and frozen batch norm."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from culprits import Culprit, raises
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.errors import EdgeDistillError, RecipeError, WeightsError
from edgedistill.methods import METHODS
from edgedistill.students import Student, build_backbone, start_projection
from edgedistill.students import weights as student_weights
from edgedistill.students.int8_weights import quantize_tensors
from edgedistill.teacher.open_clip import load_teacher

SMALL = "mobilenet_v3_small"


def assert_refused(
    kind: type[EdgeDistillError], name: str, weights: str, *culprits: Culprit
) -> None:
    with raises(kind, *culprits):
        build_backbone(name, weights)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return build_backbone(SMALL)[0]


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(student_weights, "EMBEDDED_FOLDER", tmp_path)
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("resnet50", 2048),
        ("efficientnet_b0", 1280),
        ("mobilenet_v3_small", 576),
        ("mobilenet_v3_large", 960),
    ],
)
def test_pooled_features_at_any_size(name: str, width: int) -> None:
    backbone, feature_dim = build_backbone(name)
    assert feature_dim == width
    backbone.eval()
    for size in (32, 72):
        with torch.no_grad():
            assert backbone(torch.zeros(2, 3, size, size)).shape == (2, width)
    assert not any(key.startswith(("fc.", "classifier.")) for key in backbone.state_dict())


def test_unknown_student_lists_the_known() -> None:
    assert_refused(RecipeError, "resnet19", "none", "resnet19", "resnet18", "mobilenet_v3_small")


class TestFiles:
    def test_round_trip_in_half_precision(self, tmp_path: Path, small: nn.Module) -> None:
        path = tmp_path / "start.safetensors"
        half = {k: t.half() if t.is_floating_point() else t for k, t in small.state_dict().items()}
        save_file(half, path)
        loaded, _ = build_backbone(SMALL, str(path))
        for key, tensor in loaded.state_dict().items():
            assert tensor.dtype == small.state_dict()[key].dtype
            assert torch.equal(tensor, half[key].to(tensor.dtype))

    def test_round_trip_in_int8(self, tmp_path: Path, small: nn.Module) -> None:
        path = tmp_path / "start.safetensors"
        state = small.state_dict() | {"projection.weight": torch.randn(16, 576)}
        state["projection.weight"][3] = 0
        save_file(quantize_tensors(state), path, metadata={"projection_teacher": "abc"})
        assert path.stat().st_size < 0.4 * sum(4 * t.numel() for t in state.values())
        loaded, _ = build_backbone(SMALL, str(path))
        loaded_state = loaded.state_dict()
        projection = start_projection(SMALL, str(path), "abc")
        assert projection is not None and not projection[3].any()
        for key, tensor in state.items():
            here = projection if key == "projection.weight" else loaded_state[key]
            if tensor.ndim < 2:
                assert torch.equal(here, tensor)
                continue
            rows, wanted = here.flatten(1), tensor.flatten(1)
            step = wanted.abs().amax(1, keepdim=True) / 127
            assert ((rows - wanted).abs() <= 0.501 * step).all()

    @pytest.mark.parametrize("scale", [None, torch.ones(3)])
    def test_int8_without_its_scale_is_refused(
        self, scale: torch.Tensor | None, tmp_path: Path, small: nn.Module
    ) -> None:
        path, name = tmp_path / "start.safetensors", "features.0.0.weight"
        state = quantize_tensors(small.state_dict())
        del state[f"{name}.scale"]
        save_file(state if scale is None else {**state, f"{name}.scale": scale}, path)
        assert_refused(WeightsError, SMALL, str(path), path, name, 16)

    @pytest.mark.parametrize("problem", ["missing", "unexpected", "of another shape"])
    def test_misfit_names_the_first_key_and_the_count(
        self, problem: str, tmp_path: Path, small: nn.Module
    ) -> None:
        state = {k: t.clone() for k, t in small.state_dict().items()}
        if problem == "missing":
            del state["features.0.0.weight"], state["features.0.1.weight"]
        elif problem == "unexpected":
            state |= {"extra.weight": torch.zeros(1), "extra.bias": torch.zeros(1)}
        else:
            for key in ("features.0.1.weight", "features.0.1.bias"):
                state[key] = torch.zeros(3)
        path = tmp_path / "wrong.safetensors"
        save_file(state, path)
        first = {"missing": "features.0.0.weight", "unexpected": "extra"}
        culprit = first.get(problem, "features.0.1.weight")
        assert_refused(WeightsError, SMALL, str(path), path, 2, problem, culprit)

    def test_absent_and_broken_files(self, tmp_path: Path) -> None:
        absent = tmp_path / "none.safetensors"
        assert_refused(WeightsError, SMALL, str(absent), absent)
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(b"not tensors")
        assert_refused(WeightsError, SMALL, str(broken), broken)


@pytest.mark.parametrize("name", [SMALL, "efficientnet_b0", "resnet18", "mobilenet_v3_large"])
def test_shipped_start_weights_lead_into_the_shipped_teachers_space(name: str) -> None:
    teacher = load_teacher("emoji-clip", "", torch.device("cpu"))
    assert name in student_weights.embedded_students()
    backbone, width = build_backbone(name, "embedded")
    projection = start_projection(name, "embedded", teacher.fingerprint)
    assert projection is not None
    pictures = torch.ones(3, 3, 96, 96)
    for picture, color in zip(pictures, ((1, 0, 0), (1, 0.8, 0.1), (0.1, 0.5, 0.2)), strict=True):
        picture[:, 20:76, 24:60] = torch.tensor(color)[:, None, None]
    mean, std = (
        torch.tensor(IMAGENET_MEAN)[:, None, None],
        torch.tensor(IMAGENET_STD)[:, None, None],
    )
    with torch.no_grad():
        features = backbone.eval()((pictures - mean) / std)
        assert features.shape == (3, width)
        wanted = teacher.encode_images(pictures)
        cosines = torch.cosine_similarity(features @ projection.T, wanted)
    # Directions drawn by chance in a space of hundreds of dimensions are nearly orthogonal.
    assert cosines.min() > 0.5, cosines


class TestEmbedded:
    def test_without_weights_the_error_names_the_command_and_the_place(
        self, embedded: Path, small: nn.Module
    ) -> None:
        command = "edgedistill pretrain"
        place = embedded / "cache/weights/resnet50.safetensors"
        assert_refused(WeightsError, "resnet50", "embedded", command, place)
        save_file(small.state_dict(), embedded / f"student-{SMALL}.safetensors")
        assert_refused(WeightsError, "resnet50", "embedded", command, place, SMALL)

    def test_weights_that_the_user_built_are_found_after_the_shipped(
        self, embedded: Path, small: nn.Module
    ) -> None:
        built, shipped = (
            student_weights.built_weights(SMALL),
            embedded / f"student-{SMALL}.safetensors",
        )
        built.parent.mkdir(parents=True)
        for path, value in ((built, 1.0), (shipped, 2.0)):
            state = {k: torch.full_like(t, value) for k, t in small.state_dict().items()}
            projection = {"projection.weight": torch.full((16, 576), value)}
            save_file({**state, **projection}, path, metadata={"projection_teacher": "abc"})
        for path, value in ((shipped, 2.0), (built, 1.0)):
            backbone, _ = build_backbone(SMALL, "embedded")
            assert backbone.get_parameter("features.0.0.weight").unique().tolist() == [value]
            projection_read = start_projection(SMALL, "embedded", "abc")
            assert projection_read is not None and projection_read.unique().tolist() == [value]
            path.unlink()
        with raises(WeightsError, SMALL, "embedded"):
            start_projection(SMALL, "embedded", "abc")

    def test_loads(self, embedded: Path, small: nn.Module) -> None:
        save_file(small.state_dict(), embedded / f"student-{SMALL}.safetensors")
        loaded, _ = build_backbone(SMALL, "embedded")
        assert all(torch.equal(t, small.state_dict()[k]) for k, t in loaded.state_dict().items())

    def test_projection_belongs_to_one_teacher(self, embedded: Path, small: nn.Module) -> None:
        projection = torch.randn(16, 576).half()
        save_file(
            {**small.state_dict(), "projection.weight": projection},
            embedded / f"student-{SMALL}.safetensors",
            metadata={"projection_teacher": "abc"},
        )
        build_backbone(SMALL, "embedded")
        projection_read = start_projection(SMALL, "embedded", "abc")
        assert projection_read is not None
        assert torch.equal(projection_read, projection.float())
        assert start_projection(SMALL, "embedded", "another teacher") is None
        assert start_projection(SMALL, "none", "abc") is None

    def test_weights_without_projection(self, embedded: Path, small: nn.Module) -> None:
        save_file(small.state_dict(), embedded / f"student-{SMALL}.safetensors")
        assert start_projection(SMALL, "embedded", "abc") is None


class TestImageNet:
    def place(self, home: Path, state: object, version: str = "IMAGENET1K_V1") -> Path:
        file = models.MobileNet_V3_Small_Weights[version].url.rsplit("/", 1)[1]
        folder = home / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save(state, folder / file)
        return folder / file

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))

        def refuse(*arguments: object, **keywords: object) -> None:
            raise URLError("no\nnetwork")

        monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
        return tmp_path

    def test_a_file_placed_by_hand_is_used_without_its_classifier(self, home: Path) -> None:
        whole = models.mobilenet_v3_small(weights=None)
        # torchvision's older files have no batch counters.
        state = {k: t for k, t in whole.state_dict().items() if "num_batches" not in k}
        self.place(home, state)
        backbone, _ = build_backbone(SMALL, "imagenet")
        weight = backbone.get_parameter("features.0.0.weight")
        assert torch.equal(weight, whole.get_parameter("features.0.0.weight"))

    def test_a_failed_download_says_what_to_put_where(
        self, home: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, folder = "mobilenet_v3_small-047dcff4.pth", home / "hub" / "checkpoints"
        assert_refused(WeightsError, SMALL, "imagenet", file, folder)
        assert capsys.readouterr().out == ""

    def test_a_broken_file_says_so(self, home: Path) -> None:
        file = self.place(home, {})
        file.write_bytes(b"<html>proxy</html>")
        assert_refused(WeightsError, SMALL, "imagenet", file.name)

    def test_a_pickle_is_not_executed(self, home: Path) -> None:
        file = self.place(home, {"features.0.0.weight": Path("anything")})
        assert_refused(WeightsError, SMALL, "imagenet", file.name)

    def test_second_version_only_where_there_is_one(self) -> None:
        assert_refused(WeightsError, SMALL, "imagenet-v2", SMALL, "imagenet-v2", "IMAGENET1K_V2")
        assert_refused(WeightsError, "resnet50", "imagenet-v2", "resnet50-11ad3fa6.pth")


class TestStudent:
    def build(self, freeze_bn: bool) -> Student:
        backbone, width = build_backbone(SMALL)
        erm = METHODS["erm"](METHODS["erm"].Hyper(), text=None)
        return Student(backbone, erm.head(width, 4), freeze_bn=freeze_bn)

    def test_output(self) -> None:
        out = self.build(False).eval()(torch.zeros(2, 3, 32, 32))
        assert out.features.shape == (2, 576)
        assert out.logits.shape == (2, 4)
        assert out.projected is None

    @pytest.mark.parametrize("freeze_bn", [False, True])
    def test_batch_norm(self, freeze_bn: bool) -> None:
        student = self.build(freeze_bn)
        student.eval()
        student.train()
        norms = [m for m in student.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(m.training != freeze_bn for m in norms)
        before = [m.running_mean.clone() for m in norms if m.running_mean is not None]
        out = student(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        out.logits.square().sum().backward()
        after = [m.running_mean for m in norms if m.running_mean is not None]
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert all(same) if freeze_bn else not any(same)
        assert all(m.weight.requires_grad and m.weight.grad is not None for m in norms)
        assert not any(m.training for m in student.eval().modules())

    def test_frozen_from_the_start(self) -> None:
        norms = [m for m in self.build(True).modules() if isinstance(m, nn.BatchNorm2d)]
        assert not any(m.training for m in norms)
