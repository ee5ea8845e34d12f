"""The teacher: any open_clip model, loaded safely, with its own pixels and scale."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from culprits import Culprit, raises
from PIL import Image
from safetensors.torch import load_file

from edgedistill.errors import EdgeDistillError, RecipeError, WeightsError
from edgedistill.teacher import open_clip as clip
from edgedistill.teacher.open_clip import load_teacher

CPU = torch.device("cpu")


@pytest.fixture
def copied(tiny_clip: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))


@pytest.fixture
def named(tiny_clip: Path, tmp_path: Path) -> str:
    """The tiny model under a plain model name, as open_clip's own models are."""
    config = json.loads((tiny_clip / "open_clip_config.json").read_text())["model_cfg"]
    config["text_cfg"]["tokenizer_kwargs"]["bpe_path"] = str(tiny_clip / "merges.txt.gz")
    path = tmp_path / "tiny-test-clip.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return "tiny-test-clip"


def assert_refused(
    kind: type[EdgeDistillError], model: str, pretrained: str, *culprits: Culprit
) -> None:
    with raises(kind, *culprits):
        load_teacher(model, pretrained, CPU)


def test_a_folder_loads_frozen_and_in_eval_mode(tiny_clip: Path) -> None:
    teacher = load_teacher(f"local-dir:{tiny_clip}", "", CPU)
    assert not teacher.model.training
    assert not any(p.requires_grad for p in teacher.model.parameters())
    assert teacher.size == 32
    assert (teacher.mean, teacher.std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    saved = load_file(tiny_clip / "open_clip_model.safetensors")
    assert teacher.logit_scale == pytest.approx(float(saved["logit_scale"].exp()))
    for name, tensor in teacher.model.state_dict().items():
        assert torch.equal(tensor, saved[name])


def test_embeddings_are_of_unit_norm_without_gradients(tiny_clip: Path) -> None:
    teacher = load_teacher(f"local-dir:{tiny_clip}", "", CPU)
    images = teacher.encode_images(torch.rand(3, 3, 32, 32))
    texts = teacher.encode_texts(["a cat", "the dog", "café"], batch=2)
    for embeddings in (images, texts):
        assert embeddings.shape == (3, 16) and embeddings.dtype == torch.float32
        assert not embeddings.requires_grad
        assert torch.allclose(embeddings.norm(dim=1), torch.ones(3), atol=1e-6)
    assert not torch.allclose(texts[0], texts[1], atol=1e-3)


def test_pixels_are_normalized_as_the_model_was_trained(shapes: Path, tiny_clip: Path) -> None:
    source = f"local-dir:{tiny_clip}"
    teacher = load_teacher(source, "", CPU)
    model, _, preprocess = open_clip.create_model_and_transforms(source)
    model.eval()
    image = Image.open(shapes / "night" / "circle" / "00.png").convert("RGB").resize((32, 32))
    with torch.no_grad():
        expected = model.encode_image(preprocess(image)[None], normalize=True)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    assert torch.allclose(teacher.encode_images(pixels), expected, atol=1e-5)
    other = teacher.encode_images(pixels, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not torch.allclose(other, expected, atol=1e-3)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_model_name_and_a_checkpoint_file(
    named: str, tiny_clip: Path, tmp_path: Path, suffix: str
) -> None:
    weights = tiny_clip / "open_clip_model.safetensors"
    if suffix == "pt":
        torch.save({"state_dict": load_file(weights)}, tmp_path / "weights.pt")
        weights = tmp_path / "weights.pt"
    teacher = load_teacher(named, str(weights), CPU)
    same = load_teacher(f"local-dir:{tiny_clip}", "", CPU)
    assert teacher.fingerprint == same.fingerprint
    assert teacher.name == f"{named}/{weights}"
    # A bare checkpoint says nothing about pixels: open_clip's defaults are OpenAI's.
    assert teacher.mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)


def test_another_weight_is_another_fingerprint(tiny_clip: Path, copied: Path) -> None:
    state = load_file(copied / "open_clip_model.safetensors")
    state["visual.proj"][0, 0] += 1e-4
    from safetensors.torch import save_file

    save_file(state, copied / "open_clip_model.safetensors")
    one, other = (load_teacher(f"local-dir:{p}", "", CPU) for p in (tiny_clip, copied))
    assert one.fingerprint != other.fingerprint


def test_openai_weights_get_the_activation_they_were_trained_with() -> None:
    assert clip._quick_gelu("ViT-B-16", "openai")
    assert not clip._quick_gelu("ViT-B-16", "laion2b_s34b_b88k")
    assert not clip._quick_gelu("ViT-B-16", "some/file.pt")


class TestErrors:
    def test_unknown_model(self) -> None:
        assert_refused(RecipeError, "ViT-B_16", "openai", "ViT-B_16", "'ViT-B-16'")

    def test_unknown_tag(self) -> None:
        assert_refused(RecipeError, "ViT-B-16", "opnai", "opnai", "ViT-B-16", "'openai'")

    def test_no_tag_lists_them(self) -> None:
        assert_refused(RecipeError, "ViT-B-16", "", "teacher.pretrained", "laion2b_s34b_b88k")

    def test_a_name_without_published_weights(self, named: str) -> None:
        assert_refused(RecipeError, named, "nothing", named, "nothing")

    def test_weights_named_twice(self, tiny_clip: Path) -> None:
        model = f"local-dir:{tiny_clip}"
        assert_refused(RecipeError, model, "openai", model, "teacher.pretrained")

    def test_missing_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "no"
        assert_refused(WeightsError, f"local-dir:{folder}", "", folder, "open_clip_config.json")

    def test_folder_without_weights(self, copied: Path) -> None:
        (copied / "open_clip_model.safetensors").unlink()
        model, file = f"local-dir:{copied}", "open_clip_model.safetensors"
        assert_refused(WeightsError, model, "", copied, file)

    @pytest.mark.parametrize("length", [0, 5, 1000])
    def test_truncated_safetensors(self, copied: Path, length: int) -> None:
        path = copied / "open_clip_model.safetensors"
        path.write_bytes(path.read_bytes()[:length])
        assert_refused(WeightsError, f"local-dir:{copied}", "", f"local-dir:{copied}")

    def test_weights_of_another_model(self, copied: Path) -> None:
        config = json.loads((copied / "open_clip_config.json").read_text())
        config["model_cfg"]["embed_dim"] = 24
        (copied / "open_clip_config.json").write_text(json.dumps(config))
        assert_refused(WeightsError, f"local-dir:{copied}", "", f"local-dir:{copied}")

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_cfg": 3}'])
    def test_damaged_config(self, copied: Path, text: str) -> None:
        (copied / "open_clip_config.json").write_text(text)
        assert_refused(WeightsError, f"local-dir:{copied}", "", f"local-dir:{copied}")

    def test_a_pickle_with_code_is_not_run(self, named: str, copied: Path, tmp_path: Path) -> None:
        trap = tmp_path / "ran"

        class Code:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (open, (str(trap), "w"))

        torch.save({"state_dict": Code()}, tmp_path / "zip.pt")
        (tmp_path / "plain.bin").write_bytes(pickle.dumps(Code()))
        for file in ("zip.pt", "plain.bin"):
            assert_refused(WeightsError, named, str(tmp_path / file), tmp_path / file)
            assert not trap.exists()
        (copied / "open_clip_model.safetensors").unlink()
        shutil.copy(tmp_path / "zip.pt", copied / "open_clip_pytorch_model.bin")
        assert_refused(WeightsError, f"local-dir:{copied}", "", f"local-dir:{copied}")
        assert not trap.exists()

    @pytest.mark.parametrize(
        ("model", "tag", "keys_to_set"),
        [
            ("RN50-quickgelu", "cc12m", ("teacher.pretrained",)),
            (
                "ViT-B-16",
                "openai",
                ("teacher.pretrained", "teacher.model", "ViT-B-16-quickgelu"),
            ),
            ("hf-hub:no-such-org/no-such-model", "", ("teacher.model", "local-dir:FOLDER")),
        ],
    )
    def test_a_download_that_fails(
        self,
        model: str,
        tag: str,
        keys_to_set: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> str:
            raise OSError("no route to host\nreally none")

        for name in ("download_pretrained", "download_pretrained_from_hf", "_get_hf_config"):
            monkeypatch.setattr(f"open_clip.factory.{name}", refuse)
        reason = "no route to host really none"
        assert_refused(WeightsError, model, tag, model, reason, *keys_to_set)

    def test_a_hub_model_whose_weights_fail_is_not_used_untrained(
        self, monkeypatch: pytest.MonkeyPatch, tiny_clip: Path
    ) -> None:
        config = json.loads((tiny_clip / "open_clip_config.json").read_text())

        def refuse(*args: object, **kwargs: object) -> str:
            raise OSError("disk quota")

        monkeypatch.setattr("open_clip.factory._get_hf_config", lambda *a, **k: config)
        monkeypatch.setattr("open_clip.factory.download_pretrained_from_hf", refuse)
        assert_refused(WeightsError, "hf-hub:org/model", "", "hf-hub:org/model")
