"""Weights under another activation than they were trained with are warned about."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from culprits import assert_names, raises
from safetensors.torch import load_file

from edgedistill import callbacks
from edgedistill.errors import WeightsError
from edgedistill.teacher.activation import (
    OPENAI_TENSORS,
    activation_warning,
    trained_with_quick_gelu,
)
from edgedistill.teacher.open_clip import load_teacher

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "quick"),
    [
        ("ViT-B-32.pt", True),
        ("b16_400m.pt", True),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", True),
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", False),
        ("vit_base_patch32_clip_224.openai", True),
        ("my-vit.pt", None),
        ("open_clip_model.safetensors", None),
    ],
)
def test_names_that_tell(name: str, quick: bool | None) -> None:
    assert trained_with_quick_gelu(name) is quick


def test_openais_own_tensors_tell() -> None:
    assert trained_with_quick_gelu("my-vit.pt", [*OPENAI_TENSORS, "visual.proj"])
    assert trained_with_quick_gelu("my-vit.pt", ["visual.proj"]) is None


@pytest.mark.parametrize(
    ("model", "is_quick", "was_quick", "culprits"),
    [
        ("ViT-B-32", False, True, ["f.pt", "ViT-B-32-quickgelu"]),
        ("ViT-B-32-quickgelu", True, False, ["f.pt", '"ViT-B-32"']),
        ("local-dir:a", False, True, ["f.pt", '"quick_gelu": true']),
        ("ViT-B-32", False, None, None),
        ("ViT-B-32", False, False, None),
        ("ViT-B-32-quickgelu", True, True, None),
    ],
)
def test_the_line_names_what_to_set(
    model: str, is_quick: bool, was_quick: bool | None, culprits: list[str] | None
) -> None:
    line = activation_warning(model, is_quick, was_quick, "f.pt")
    assert (line is None) == (culprits is None)
    if line is not None:
        assert_names(line, *culprits or [])


class TestLoading:
    @pytest.fixture
    def warned(self) -> Iterator[list[str]]:
        lines: list[str] = []

        class Warnings(callbacks.Callback):
            def on_warning(self, message: str) -> None:
                lines.append(message)

        with callbacks.reporting([Warnings()]):
            yield lines

    @pytest.fixture
    def named(self, tiny_clip: Path, tmp_path: Path) -> str:
        """The tiny model under two names, as OpenAI's architectures are."""
        config = json.loads((tiny_clip / "open_clip_config.json").read_text())["model_cfg"]
        config["text_cfg"]["tokenizer_kwargs"]["bpe_path"] = str(tiny_clip / "merges.txt.gz")
        for suffix, quick in (("", False), ("-quickgelu", True)):
            path = tmp_path / f"tiny-openai-clip{suffix}.json"
            path.write_text(json.dumps({**config, "quick_gelu": quick}))
            open_clip.add_model_config(path)
        return "tiny-openai-clip"

    def test_openais_tensors_in_the_plain_model(
        self, named: str, tiny_clip: Path, tmp_path: Path, warned: list[str]
    ) -> None:
        state = load_file(tiny_clip / "open_clip_model.safetensors")
        beside = {name: torch.tensor(32) for name in OPENAI_TENSORS}
        torch.save({**state, **beside}, tmp_path / "clip.pt")
        plain = load_teacher(named, str(tmp_path / "clip.pt"), CPU)
        assert_names(warned.pop(), tmp_path / "clip.pt", f"{named}-quickgelu")
        quick = load_teacher(f"{named}-quickgelu", str(tmp_path / "clip.pt"), CPU)
        assert not warned
        assert plain.fingerprint != quick.fingerprint
        pixels = torch.rand(2, 3, 32, 32)
        assert not torch.allclose(plain.encode_images(pixels), quick.encode_images(pixels))

    def test_a_folder_with_openais_name(
        self, tiny_clip: Path, tmp_path: Path, warned: list[str]
    ) -> None:
        folder = tmp_path / "clip_224.openai"
        folder.symlink_to(tiny_clip)
        load_teacher(f"local-dir:{folder}", "", CPU)
        assert_names(warned.pop(), folder, "quick_gelu")
        load_teacher(f"local-dir:{tiny_clip}", "", CPU)
        assert not warned

    def test_an_archive_as_openai_publishes_it(self, named: str, tmp_path: Path) -> None:
        path = tmp_path / "ViT.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("ViT/code/model.py", b"")
        with raises(WeightsError, path, "teacher.pretrained", f"{named}-quickgelu"):
            load_teacher(named, str(path), CPU)
