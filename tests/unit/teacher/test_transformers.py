"""CLIP and SigLIP in transformers' format, against what that package answered.

`recorded/` was written by tests/programs/record_transformers.py.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from culprits import assert_names, raises
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgedistill import callbacks
from edgedistill.errors import MissingPackageError, WeightsError
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.siglip import SigLIP
from edgedistill.teacher.transformers_format import read_config
from edgedistill.teacher.transformers_state import clip_state, siglip_state

RECORDED = Path(__file__).parent / "recorded"
CPU = torch.device("cpu")
CLIP, CLIP_GELU, SIGLIP = "clip-quick-gelu", "clip-gelu", "siglip"
NAMES = (CLIP, CLIP_GELU, SIGLIP)


class Warnings(callbacks.Callback):
    """Warnings that were heard."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_warning(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def warned() -> Iterator[list[str]]:
    heard = Warnings()
    with callbacks.reporting([heard]):
        yield heard.lines


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(RECORDED / name, tmp_path / name))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_answers(teacher: Teacher, name: str) -> None:
    with safe_open(RECORDED / name / "answers.safetensors", "pt") as file:
        answers = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        texts = json.loads(file.metadata()["texts"])
    assert torch.equal(teacher.tokenizer(texts), answers["ids"])
    images = teacher.encode_images(answers["pixels"].float())
    torch.testing.assert_close(images, answers["images"], atol=2e-6, rtol=0)
    torch.testing.assert_close(teacher.encode_texts(texts), answers["texts"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schema", ["", "local-dir:"])
def test_a_folder_answers_as_transformers_does(name: str, schema: str) -> None:
    teacher = load_teacher(f"{schema}{RECORDED / name}", "", CPU)
    assert_answers(teacher, name)
    preprocessor = json.loads((RECORDED / name / "preprocessor_config.json").read_text())
    assert teacher.mean == tuple(preprocessor["image_mean"])
    assert teacher.std == tuple(preprocessor["image_std"])
    assert (teacher.size, teacher.width) == (32, 16 if name == SIGLIP else 8)
    assert not teacher.model.training


def test_the_activation_comes_from_the_configuration() -> None:
    one, other = (load_teacher(str(RECORDED / name), "", CPU) for name in (CLIP, CLIP_GELU))
    pixels = torch.rand(2, 3, 32, 32)
    difference = one.encode_images(pixels) - other.encode_images(pixels, one.mean, one.std)
    assert difference.abs().max() > 1e-3


def test_a_text_that_is_cut_is_named() -> None:
    teacher = load_teacher(str(RECORDED / SIGLIP), "", CPU)
    _, cut = teacher.token_ids(["a cat", "a photo of a cat and the dog"])
    assert cut == ["a photo of a cat and the dog"]


def test_siglips_punctuation_and_case_are_removed_as_in_open_clip() -> None:
    teacher = load_teacher(str(RECORDED / SIGLIP), "", CPU)
    assert torch.equal(
        teacher.tokenizer(["A  photo_of, a CAT!"]), teacher.tokenizer(["a photo of a cat"])
    )


class TestFiles:
    def test_a_pickle_of_tensors(self, copy: Callable[[str], Path]) -> None:
        folder = copy(CLIP)
        state = load_file(folder / "model.safetensors")
        positions = {"text_model.embeddings.position_ids": torch.arange(8)[None]}
        torch.save({**state, **positions}, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        assert_answers(load_teacher(str(folder), "", CPU), CLIP)

    def test_weights_in_parts(self, copy: Callable[[str], Path]) -> None:
        folder = copy(SIGLIP)
        state = load_file(folder / "model.safetensors")
        files = {k: f"model-0000{1 + k.startswith('text')}-of-00002.safetensors" for k in state}
        for file in sorted(set(files.values())):
            save_file({k: t for k, t in state.items() if files[k] == file}, folder / file)
        index = {"metadata": {}, "weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "model.safetensors").unlink()
        assert_answers(load_teacher(str(folder), "", CPU), SIGLIP)

    def test_sections_of_the_old_spelling_decide(self, copy: Callable[[str], Path]) -> None:
        folder = copy(CLIP)

        def change(config: dict[str, Any]) -> None:
            for section in ("text_config", "vision_config"):
                config[f"{section}_dict"] = {"hidden_act": "quick_gelu"}
                config[section]["hidden_act"] = "gelu"

        edit(folder / "config.json", change)
        assert_answers(load_teacher(str(folder), "", CPU), CLIP)

    def test_pixels_of_a_processor_and_of_none(self, copy: Callable[[str], Path]) -> None:
        folder = copy(CLIP)
        mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
        (folder / "preprocessor_config.json").unlink()
        processor = {"image_processor": {"image_mean": mean, "image_std": std}}
        (folder / "processor_config.json").write_text(json.dumps(processor))
        teacher = load_teacher(str(folder), "", CPU)
        assert (list(teacher.mean), list(teacher.std)) == (mean, std)
        (folder / "processor_config.json").unlink()
        assert load_teacher(str(folder), "", CPU).mean == open_clip.OPENAI_DATASET_MEAN

    @pytest.mark.parametrize("name", [CLIP, CLIP_GELU])
    def test_a_file_of_transformers_for_a_model_by_name(
        self, name: str, tmp_path: Path, warned: list[str]
    ) -> None:
        # As open_clip describes the model of the folder; it has its own tokenizer.
        tower = {"width": 16, "layers": 2, "mlp_ratio": 1.53}
        config = {
            "embed_dim": 8,
            "quick_gelu": True,
            "vision_cfg": {**tower, "image_size": 32, "patch_size": 16, "head_width": 8},
            "text_cfg": {**tower, "context_length": 8, "vocab_size": 16, "heads": 2},
        }
        path = tmp_path / f"tiny-{name}-quickgelu.json"
        path.write_text(json.dumps(config))
        open_clip.add_model_config(path)
        weights = RECORDED / name / "model.safetensors"
        net = load_folder_network(name)
        model = open_clip.create_model(path.stem)
        model.load_state_dict(clip_state(load_file(weights)))
        pixels = torch.rand(2, 3, 32, 32)
        same = torch.allclose(
            model.eval().encode_image(pixels), net.encode_image(pixels), atol=1e-5
        )
        assert same == (name == CLIP)
        # The vocabulary of the recorded models is too small for open_clip's tokenizer.
        with raises(WeightsError, path.stem, 16):
            load_teacher(path.stem, str(weights), CPU)
        if name == CLIP:
            assert not warned
        else:
            assert_names(warned[0], weights, path.stem)


def load_folder_network(name: str) -> Any:
    return load_teacher(str(RECORDED / name), "", CPU).model


class TestPublishedSizes:
    """States of the published sizes, without values, fit open_clip's networks of that name."""

    def state_of(self, kind: str, config: Mapping[str, Any]) -> dict[str, Tensor]:
        """Names as recorded, shapes as the configuration says."""
        text, vision = config["text_config"], config["vision_config"]
        state: dict[str, Tensor] = {}
        layers = {"text_model": text, "vision_model": vision}
        for key, tensor in load_file(RECORDED / kind / "model.safetensors").items():
            if ".layers.1." in key:
                continue
            section = layers.get(key.partition(".")[0], {})
            shape = self._shape(key, tensor, section, config)
            repeats = section["num_hidden_layers"] if ".layers.0." in key else 1
            for layer in range(repeats):
                name = key.replace(".layers.0.", f".layers.{layer}.")
                state[name] = torch.empty(shape, device="meta")
        return state

    def _shape(
        self, key: str, tensor: Tensor, section: Mapping[str, Any], config: Mapping[str, Any]
    ) -> list[int]:
        if key in ("visual_projection.weight", "text_projection.weight"):
            tower = "vision_config" if key.startswith("visual") else "text_config"
            return [config["projection_dim"], config[tower]["hidden_size"]]
        if not section:
            return list(tensor.shape)
        width, inner = section["hidden_size"], section["intermediate_size"]
        if "token_embedding" in key:
            return [section["vocab_size"], width]
        if "position_embedding" in key and "vocab_size" in section:
            return [section["max_position_embeddings"], width]
        patch = section.get("patch_size", 0)
        if "position_embedding" in key:
            extra = int(config["model_type"] == "clip")
            return [(section["image_size"] // patch) ** 2 + extra, width]
        if "patch_embedding.weight" in key:
            return [width, 3, patch, patch]
        sizes = {16: width, 24: inner, 48: 3 * width}
        return [sizes.get(size, size) for size in tensor.shape]

    @pytest.mark.parametrize(
        ("name", "kind", "config"),
        [
            ("ViT-B-32-quickgelu", CLIP, {"model_type": "clip"}),
            ("ViT-B-16-SigLIP", SIGLIP, {"model_type": "siglip"}),
        ],
    )
    def test_defaults_are_those_of_the_base_models(
        self, name: str, kind: str, config: dict[str, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        read = {"projection_dim": 512, **read_config(tmp_path)}
        state = self.state_of(kind, read)
        converted = (clip_state if kind == CLIP else siglip_state)(state)
        network = open_clip.create_model(name, device="meta")
        own = {key: tensor.shape for key, tensor in network.state_dict().items()}
        assert {key: tensor.shape for key, tensor in converted.items()} == own
        if kind == SIGLIP:
            with torch.device("meta"):
                text = {"projection_size": 768, **read["text_config"]}
                ours = SigLIP(read["vision_config"], text)
            assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == own

    def test_a_clip_with_openais_vocabulary_has_open_clips_tokenizer(
        self, copy: Callable[[str], Path]
    ) -> None:
        folder, size = copy(CLIP), 49408
        edit(
            folder / "config.json",
            lambda c: c["text_config"].update(vocab_size=size, eos_token_id=2),
        )
        (folder / "tokenizer.json").unlink()
        state = load_file(folder / "model.safetensors")
        key = "text_model.embeddings.token_embedding.weight"
        save_file({**state, key: torch.zeros(size, 16)}, folder / "model.safetensors")
        teacher = load_teacher(str(folder), "", CPU)
        ids = teacher.tokenizer(["a photo of a cat"])
        assert torch.equal(ids, open_clip.tokenize(["a photo of a cat"], context_length=8))


class TestErrors:
    @pytest.mark.parametrize(
        ("file", "change", "culprit"),
        [
            ("config.json", lambda c: c.update(model_type="bert"), "'bert'"),
            ("config.json", lambda c: c["text_config"].update(hidden_act="relu"), "'relu'"),
            (
                "config.json",
                lambda c: c["text_config"].update(hidden_act="gelu"),
                "hidden_act",
            ),
            ("config.json", lambda c: c["text_config"].update(eos_token_id=7), "eos_token_id"),
            ("config.json", lambda c: c["vision_config"].update(hidden_size=32), "config.json"),
            (
                "config.json",
                lambda c: c["vision_config"].update(num_hidden_layers=1),
                "config.json",
            ),
            ("config.json", lambda c: c["vision_config"].update(image_size="x"), "config.json"),
            ("preprocessor_config.json", lambda c: c.update(image_std=[1.0]), "image_std"),
        ],
    )
    def test_a_configuration_that_does_not_fit(
        self,
        file: str,
        change: Callable[[dict[str, Any]], object],
        culprit: str,
        copy: Callable[[str], Path],
    ) -> None:
        folder = copy(CLIP)
        edit(folder / file, change)
        with raises(WeightsError, folder, culprit):
            load_teacher(str(folder), "", CPU)

    @pytest.mark.parametrize("text", ["{", "[]", ""])
    @pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer.json"])
    def test_a_damaged_file_is_named(
        self, file: str, text: str, copy: Callable[[str], Path]
    ) -> None:
        folder = copy(SIGLIP)
        (folder / file).write_text(text)
        with raises(WeightsError, folder / file):
            load_teacher(str(folder), "", CPU)

    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
    def test_a_missing_file_is_named(self, file: str, copy: Callable[[str], Path]) -> None:
        folder = copy(SIGLIP)
        (folder / file).unlink()
        with raises(WeightsError, folder, file):
            load_teacher(str(folder), "", CPU)

    @pytest.mark.parametrize("extra", [True, False])
    def test_another_tensor_than_the_networks(
        self, extra: bool, copy: Callable[[str], Path]
    ) -> None:
        folder, key = copy(CLIP), "text_model.final_layer_norm.bias"
        state = load_file(folder / "model.safetensors")
        other = {**state, "text_model.more.weight": torch.ones(1)} if extra else state
        save_file(
            {k: t for k, t in other.items() if extra or k != key}, folder / "model.safetensors"
        )
        with raises(WeightsError, folder):
            load_teacher(str(folder), "", CPU)

    def test_without_the_package_of_tokenizers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with raises(MissingPackageError, "tokenizers", "edgedistill[siglip]"):
            load_teacher(str(RECORDED / SIGLIP), "", CPU)

    def test_a_tokenizer_of_another_model(self, copy: Callable[[str], Path]) -> None:
        folder = copy(SIGLIP)
        edit(folder / "tokenizer.json", lambda c: c["model"]["vocab"].update(a=99))
        with raises(WeightsError, folder, 99, 16):
            load_teacher(str(folder), "", CPU)

    def test_a_name_whose_tokenizer_needs_transformers(
        self, tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(*arguments: object, **keywords: object) -> None:
            raise ModuleNotFoundError("No module named 'transformers'", name="transformers")

        monkeypatch.setattr(open_clip, "get_tokenizer", missing)
        with raises(WeightsError, tiny_clip, "tokenizer.json"):
            load_teacher(f"local-dir:{tiny_clip}", "", CPU)

    def test_a_folder_without_configuration(self, tmp_path: Path) -> None:
        with raises(WeightsError, tmp_path, "config.json"):
            load_teacher(str(tmp_path), "", CPU)
