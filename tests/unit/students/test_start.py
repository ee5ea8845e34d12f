"""Start weights from torchvision's, timm's and CLIP-KD's files, and from runs."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from culprits import assert_names, raises
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from edgedistill import callbacks
from edgedistill.errors import WeightsError
from edgedistill.methods import METHODS
from edgedistill.methods.text_bank import TextBank
from edgedistill.students import build_backbone, start_projection
from edgedistill.students.assemble import assemble_student

State = dict[str, Tensor]
NETWORK = "timm/test_resnet"


class Messages(callbacks.Callback):
    """Notes and warnings that were heard."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def on_note(self, message: str) -> None:
        self.notes.append(message)

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def heard() -> Iterator[Messages]:
    messages = Messages()
    with callbacks.reporting([messages]):
        yield messages


@pytest.fixture(scope="module")
def whole() -> State:
    """State of timm's network with its classifier."""
    torch.manual_seed(1)
    return dict(timm.create_model("test_resnet").state_dict())


def assert_loaded(path: Path, expected: State, name: str = NETWORK) -> None:
    state = build_backbone(name, str(path))[0].state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in state.items())


def clip_state(whole: State, width: int = 24, **head: Tensor) -> State:
    """As CLIP-KD saves a student: timm's trunk and a projection, and a text tower beside them."""
    trunk = {f"visual.trunk.{k}": t for k, t in whole.items() if not k.startswith("fc.")}
    features = whole["fc.weight"].shape[1]
    heads = head or {"visual.head.proj.weight": torch.randn(width, features)}
    text = {"positional_embedding": torch.zeros(77, 8), "logit_scale": torch.zeros(())}
    return {**trunk, **heads, **text}


class TestFiles:
    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
    def test_a_classifier_of_torchvision_gives_its_trunk(
        self, name: str, tmp_path: Path, heard: Messages
    ) -> None:
        network = models.get_model(name, weights=None)
        torch.save(network.state_dict(), tmp_path / "whole.pth")
        assert_loaded(tmp_path / "whole.pth", network.state_dict(), name)
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        (classifier,) = (n for n, m in network.named_modules() if m is last)
        assert_names(heard.notes[0], tmp_path / "whole.pth", f"{classifier}.weight")

    @pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
    @pytest.mark.parametrize("classifier", [True, False])
    def test_a_classifier_of_timm_and_its_trunk_alone(
        self, suffix: str, classifier: bool, whole: State, tmp_path: Path, heard: Messages
    ) -> None:
        path = tmp_path / f"weights.{suffix}"
        state = {k: t for k, t in whole.items() if classifier or not k.startswith("fc.")}
        if suffix == "safetensors":
            save_file(state, path)
        else:
            torch.save(state, path)
        assert_loaded(path, whole)
        assert ("fc.weight" in heard.notes[0]) == classifier
        assert_names(heard.notes[0], sum(not k.startswith("fc.") for k in whole))

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda s: {"state_dict": s, "epoch": 3},
            lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)},
            lambda s: {"model": {k: t + 1 for k, t in s.items()}, "model_ema": s},
            lambda s: {"model_state_dict": s, "optimizer": {"state": {0: torch.ones(1)}}},
            lambda s: {"model": {"state_dict": s}},
            lambda s: {f"module.{k}": t for k, t in s.items()},
            lambda s: {"state_dict": {f"model._orig_mod.{k}": t for k, t in s.items()}},
            lambda s: {
                "model_ema": {"n_averaged": torch.tensor(9)}
                | {f"module.{k}": t for k, t in s.items()}
            },
        ],
    )
    def test_wrapped_as_training_programs_save_them(
        self, wrap: Callable[[State], dict[str, Any]], whole: State, tmp_path: Path
    ) -> None:
        torch.save(wrap(whole), tmp_path / "last.pth")
        assert_loaded(tmp_path / "last.pth", whole)

    def test_the_format_of_before_torch_1_6(self, whole: State, tmp_path: Path) -> None:
        torch.save(whole, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        assert_loaded(tmp_path / "old.pth", whole)

    def test_position_embeddings_are_resampled_to_the_recipes_size(self, tmp_path: Path) -> None:
        network = timm.create_model("test_vit", img_size=160)
        nn.init.constant_(network.get_parameter("pos_embed"), 0.25)
        torch.save(network.state_dict(), tmp_path / "vit.pth")
        trunk, _ = build_backbone("timm/test_vit", str(tmp_path / "vit.pth"), 64)
        embedding = trunk.get_parameter("pos_embed")
        assert embedding.shape != network.get_parameter("pos_embed").shape
        assert torch.allclose(embedding, torch.tensor(0.25))

    def test_a_pickle_with_code_is_refused_and_not_run(self, tmp_path: Path) -> None:
        class Code:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (open, (str(tmp_path / "ran"), "w"))

        torch.save({"state_dict": Code()}, tmp_path / "code.pth")
        with raises(WeightsError, tmp_path / "code.pth", "state_dict"):
            build_backbone(NETWORK, str(tmp_path / "code.pth"))
        assert not (tmp_path / "ran").exists()

    def test_a_torchscript_archive_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "script.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("data.pkl", "code/__torch__.py", "constants.pkl"):
                archive.writestr(f"script/{name}", b"")
        with raises(WeightsError, path, "TorchScript"):
            build_backbone(NETWORK, str(path))

    @pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)], {"state_dict": {}}, 3])
    def test_a_file_without_tensors_by_name_is_refused(
        self, content: object, tmp_path: Path
    ) -> None:
        torch.save(content, tmp_path / "none.pth")
        with raises(WeightsError, tmp_path / "none.pth"):
            build_backbone(NETWORK, str(tmp_path / "none.pth"))

    def test_a_broken_and_an_absent_file(self, tmp_path: Path) -> None:
        (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 and no archive")
        for name in ("broken.pth", "absent.pth"):
            with raises(WeightsError, tmp_path / name):
                build_backbone(NETWORK, str(tmp_path / name))

    def test_another_shape_is_named_with_both(self, whole: State, tmp_path: Path) -> None:
        state = {**whole, "conv1.0.weight": torch.zeros(5, 3, 3, 3)}
        torch.save(state, tmp_path / "other.pth")
        expected = list(whole["conv1.0.weight"].shape)
        with raises(WeightsError, "conv1.0.weight", "[5, 3, 3, 3]", str(expected)):
            build_backbone(NETWORK, str(tmp_path / "other.pth"))

    def test_timms_names_for_torchvisions_network_lead_to_timm(self, tmp_path: Path) -> None:
        network = timm.create_model("mobilenetv3_small_100", num_classes=0)
        torch.save(network.state_dict(), tmp_path / "timm.pth")
        with raises(WeightsError, "timm/NAME"):
            build_backbone("mobilenet_v3_small", str(tmp_path / "timm.pth"))


class TestClipCheckpoints:
    @pytest.mark.parametrize("prefix", ["", "module."])
    def test_the_trunk_is_loaded_and_its_projection_comes_with_a_warning(
        self, prefix: str, whole: State, tmp_path: Path, heard: Messages
    ) -> None:
        state, path = clip_state(whole), tmp_path / "epoch_32.pt"
        named = {f"{prefix}{k}": t for k, t in state.items()}
        torch.save({"epoch": 32, "name": "kd", "state_dict": named, "optimizer": {}}, path)
        assert_loaded(path, whole)
        projection = start_projection(NETWORK, str(path), "any teacher", 24)
        assert projection is not None
        assert torch.equal(projection, state["visual.head.proj.weight"])
        assert_names(heard.notes[0], path, "text tower")
        assert_names(heard.warnings[0], path, "teacher.model", 24)

    def test_a_projection_of_another_width_is_left_out(
        self, whole: State, tmp_path: Path, heard: Messages
    ) -> None:
        torch.save(clip_state(whole), tmp_path / "clip.pt")
        assert start_projection(NETWORK, str(tmp_path / "clip.pt"), "any teacher", 32) is None
        assert_names(heard.notes[0], tmp_path / "clip.pt", 24)

    def test_a_head_of_two_layers_is_no_projection(
        self, whole: State, tmp_path: Path, heard: Messages
    ) -> None:
        layers = {f"visual.head.mlp.{n}.weight": torch.zeros(8, 8) for n in ("fc1", "fc2")}
        torch.save(clip_state(whole, **layers), tmp_path / "clip.pt")
        assert_loaded(tmp_path / "clip.pt", whole)
        assert start_projection(NETWORK, str(tmp_path / "clip.pt"), "any teacher", 8) is None
        assert_names(heard.notes[0], "visual.head")

    @pytest.mark.parametrize(
        ("name", "same"),
        [
            ("timm/resnet18", "resnet18"),
            ("timm/efficientnet_b0", ""),
            ("timm/mobilenetv3_small_100", ""),
        ],
    )
    def test_released_students(self, name: str, same: str, tmp_path: Path) -> None:
        network = timm.create_model(name.removeprefix("timm/"), num_classes=0)
        state = {f"module.visual.trunk.{k}": t for k, t in network.state_dict().items()}
        width = build_backbone(name, size=32)[1]
        state["module.visual.head.proj.weight"] = torch.randn(512, width)
        torch.save({"state_dict": state}, tmp_path / "released.pt")
        for student in filter(None, (name, same)):
            assert_loaded(tmp_path / "released.pt", dict(network.state_dict()), student)
            projection = start_projection(student, str(tmp_path / "released.pt"), "any", 512)
            assert projection is not None and projection.shape == (512, width)

    def test_a_projection_starts_the_head(self, whole: State, tmp_path: Path) -> None:
        state = clip_state(whole)
        torch.save(state, tmp_path / "clip.pt")
        texts = nn.functional.normalize(torch.randn(3, 24), dim=1)
        text = TextBank(texts, torch.arange(3), texts, "mean", 1.0)
        kind = METHODS["scmd"]
        student = assemble_student(
            NETWORK,
            kind(kind.Hyper(), text=text),
            3,
            weights=str(tmp_path / "clip.pt"),
            teacher="t",
        )
        start = student.head.get_parameter("projector.weight")
        assert torch.equal(start, state["visual.head.proj.weight"])

    def test_an_image_tower_that_no_student_has(self, tmp_path: Path) -> None:
        torch.save({"visual.conv1.weight": torch.zeros(2, 3, 4, 4)}, tmp_path / "vit.pt")
        with raises(WeightsError, tmp_path / "vit.pt"):
            build_backbone(NETWORK, str(tmp_path / "vit.pt"))


class TestRuns:
    @pytest.fixture
    def run(self, whole: State, tmp_path: Path) -> Path:
        """What a finished run of SCMD leaves, as far as start weights read it."""
        folder = tmp_path / "runs" / "first"
        folder.mkdir(parents=True)
        trunk = {f"backbone.{k}": t for k, t in whole.items() if not k.startswith("fc.")}
        head = {"head.projector.weight": torch.randn(24, whole["fc.weight"].shape[1])}
        texts = {"text.names": torch.zeros(3, 24)}
        save_file({**trunk, **head, **texts}, folder / "student.safetensors")
        recipe = f'[student]\nmodel = "{NETWORK}"\n[method]\nname = "scmd"\n'
        (folder / "recipe.toml").write_text(recipe)
        (folder / "environment.json").write_text(json.dumps({"identity": {"teacher": "abc"}}))
        (folder / "metrics.json").write_text("{}")
        return folder

    @pytest.mark.parametrize("file", ["", "student.safetensors"])
    def test_a_folder_and_its_file_give_trunk_and_projection(
        self, file: str, run: Path, whole: State, heard: Messages
    ) -> None:
        assert_loaded(run / file, whole)
        projection = start_projection(NETWORK, str(run / file), "abc", 24)
        assert projection is not None and projection.shape[0] == 24
        assert_names(heard.notes[0], run, NETWORK, "scmd")
        assert not heard.warnings

    def test_the_projection_of_another_teacher_is_left_out(
        self, run: Path, heard: Messages
    ) -> None:
        assert start_projection(NETWORK, str(run), "another", 24) is None
        assert_names(heard.notes[0], run)

    def test_a_method_without_projection(self, run: Path) -> None:
        recipe = run / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("scmd", "kd"))
        assert start_projection(NETWORK, str(run), "abc", 24) is None

    def test_a_copy_of_the_file_gives_the_trunk(
        self, run: Path, whole: State, tmp_path: Path
    ) -> None:
        copy = (run / "student.safetensors").rename(tmp_path / "copy.safetensors")
        assert_loaded(copy, whole)
        assert start_projection(NETWORK, str(copy), "abc", 24) is None

    def test_another_architecture_names_the_runs(self, run: Path) -> None:
        with raises(WeightsError, run, NETWORK):
            build_backbone("resnet18", str(run))

    @pytest.mark.parametrize("missing", ["metrics.json", "recipe.toml", "environment.json"])
    def test_an_unfinished_or_damaged_run(self, missing: str, run: Path) -> None:
        (run / missing).unlink()
        with raises(WeightsError, run):
            build_backbone(NETWORK, str(run))

    def test_a_folder_that_is_no_run(self, tmp_path: Path) -> None:
        with raises(WeightsError, tmp_path):
            build_backbone(NETWORK, str(tmp_path))
