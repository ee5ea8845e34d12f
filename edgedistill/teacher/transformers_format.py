"""CLIP and SigLIP models in the format of the package transformers, as networks of open_clip.

A folder has config.json and model.safetensors, also in several parts, or pytorch_model.bin;
preprocessor_config.json for the pixels; tokenizer.json where the texts are not those of OpenAI's
tokenizer. The package itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import set_model_preprocess_cfg
from open_clip.tokenizer import get_clean_fn
from torch import Tensor, nn

from edgedistill.errors import WeightsError
from edgedistill.students.checkpoints import read_checkpoint
from edgedistill.teacher.file_tokenizer import FileTokenizer
from edgedistill.teacher.siglip import SigLIP, mlp_ratio
from edgedistill.teacher.transformers_state import clip_state, siglip_state

CONFIG = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_INDEX = "model.safetensors.index.json"
# Vocabulary of the byte-pair encoding that comes with open_clip.
_OPENAI_VOCABULARY = 49408
# Activations by transformers' names; what open_clip's towers are given for each.
_TANH = {"approximate": "tanh"}
_ACTIVATIONS: dict[str, dict[str, Any] | None] = {
    "quick_gelu": None,
    "gelu": None,
    "gelu_pytorch_tanh": _TANH,
    "gelu_new": _TANH,
}

# A configuration names what differs from transformers' defaults.
_TOWER = {"intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "text_config": {
            **_TOWER,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "vocab_size": _OPENAI_VOCABULARY,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "eos_token_id": _OPENAI_VOCABULARY - 1,
        },
        "vision_config": {
            **_TOWER,
            "hidden_size": 768,
            "image_size": 224,
            "patch_size": 32,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
    },
    "siglip": {
        "text_config": {
            **_TOWER,
            "hidden_size": 768,
            "vocab_size": 32000,
            "max_position_embeddings": 64,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
            "pad_token_id": 1,
        },
        "vision_config": {
            **_TOWER,
            "hidden_size": 768,
            "image_size": 224,
            "patch_size": 16,
            "hidden_act": "gelu_pytorch_tanh",
            "layer_norm_eps": 1e-6,
        },
    },
}
_PIXELS = {
    "clip": (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    "siglip": ((0.5,) * 3, (0.5,) * 3),
}


def is_transformers_folder(folder: Path) -> bool:
    """Whether a folder has a configuration of transformers and none of open_clip."""
    return (folder / CONFIG).is_file() and not (folder / "open_clip_config.json").is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a CLIP or SigLIP, with the values that it leaves to the defaults.

    Raises WeightsError for a file that is none, or is of another kind of model.
    """
    path = folder / CONFIG
    given = _read_json(path)
    kind = given.get("model_type")
    if kind not in _DEFAULTS:
        raise WeightsError(
            f"teacher.model: {path}: model_type {kind!r} is no teacher; those in transformers' "
            f"format are {' and '.join(_DEFAULTS)}"
        )
    config = {**given}
    for section, defaults in _DEFAULTS[kind].items():
        # The second name is that of files written until 2023; where it is there, it decides.
        values = {**(given.get(section) or {}), **(given.get(f"{section}_dict") or {})}
        config[section] = {**defaults, **values}
        activation = config[section]["hidden_act"]
        if activation not in _ACTIVATIONS:
            raise WeightsError(
                f"teacher.model: {path}: {section}.hidden_act {activation!r} is not one of "
                f"{', '.join(_ACTIVATIONS)}"
            )
    _check_towers(kind, config, path)
    return config


def uses_quick_gelu(config: Mapping[str, Any]) -> bool:
    """Whether a configuration's networks have OpenAI's approximation of GELU."""
    return bool(config["text_config"]["hidden_act"] == "quick_gelu")


def load_folder(folder: Path, device: torch.device) -> tuple[nn.Module, Any]:
    """The network of a folder, with open_clip's interface and names, and its tokenizer.

    Raises WeightsError where a file is missing, damaged, or does not fit the others;
    MissingPackageError for a tokenizer.json without the package `tokenizers`.
    """
    config = read_config(folder)
    is_clip = config["model_type"] == "clip"
    state = _read_state(folder)
    try:
        network = (
            _clip(config) if is_clip else SigLIP(config["vision_config"], _siglip_text(config))
        )
        network.load_state_dict(clip_state(state) if is_clip else siglip_state(state))
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"teacher.model: {folder}: the weights do not fit {CONFIG}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    set_model_preprocess_cfg(network, _pixels(folder, config))
    return network.to(device), _tokenizer(folder, config)


def _check_towers(kind: str, config: Mapping[str, Any], path: Path) -> None:
    text, vision = config["text_config"], config["vision_config"]
    if text["hidden_act"] != vision["hidden_act"]:
        raise WeightsError(
            f"teacher.model: {path}: hidden_act of text and images differ "
            f"({text['hidden_act']!r}, {vision['hidden_act']!r})"
        )
    if kind == "siglip" and _ACTIVATIONS[text["hidden_act"]] != _TANH:
        raise WeightsError(
            f"teacher.model: {path}: hidden_act {text['hidden_act']!r} is no SigLIP's"
        )
    # Texts are read out at their end token, which open_clip finds as the highest id; 2 is what
    # transformers wrote for OpenAI's models before it had that token's own id.
    last = text["vocab_size"] - 1
    if kind == "clip" and text["eos_token_id"] not in (2, last):
        raise WeightsError(
            f"teacher.model: {path}: text_config.eos_token_id {text['eos_token_id']} is not the "
            f"last of the vocabulary, {last}"
        )


def _clip(config: Mapping[str, Any]) -> nn.Module:
    text, vision = config["text_config"], config["vision_config"]
    return open_clip.model.CLIP(
        embed_dim=config.get("projection_dim", 512),
        vision_cfg={
            **_tower(vision),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        text_cfg={
            **_tower(text),
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
        },
        quick_gelu=uses_quick_gelu(config),
    )


def _tower(section: dict[str, Any]) -> dict[str, Any]:
    return {
        "width": section["hidden_size"],
        "layers": section["num_hidden_layers"],
        "mlp_ratio": mlp_ratio(section),
        "act_kwargs": _ACTIVATIONS[section["hidden_act"]],
        "norm_kwargs": {"eps": section["layer_norm_eps"]},
    }


def _siglip_text(config: Mapping[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = config["text_config"]
    return {"projection_size": text["hidden_size"], **text}


def _read_state(folder: Path) -> dict[str, Tensor]:
    index = folder / _INDEX
    paths = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()][:1]
    if not paths and index.is_file():
        parts = _read_json(index).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise WeightsError(f"teacher.model: {index}: names no files of weights")
        paths = [folder / Path(name).name for name in sorted(set(map(str, parts.values())))]
    if not paths:
        raise WeightsError(
            f"teacher.model: {folder}: no weights there; put {' or '.join(WEIGHT_FILES)} into it"
        )
    return {k: t for path in paths for k, t in read_checkpoint(path).tensors.items()}


def _pixels(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    mean, std = _PIXELS[config["model_type"]]
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        content = _read_json(path)
        content = content.get("image_processor", content)
        mean, std = content.get("image_mean", mean), content.get("image_std", std)
        for values in (mean, std):
            if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
                raise WeightsError(
                    f"teacher.model: {path}: image_mean and image_std are three numbers each"
                )
        break
    size = config["vision_config"]["image_size"]
    return {"size": size, "mean": tuple(mean), "std": tuple(std)}


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> Any:
    text = config["text_config"]
    length, vocabulary = text["max_position_embeddings"], text["vocab_size"]
    if config["model_type"] == "clip" and vocabulary == _OPENAI_VOCABULARY:
        return open_clip.tokenizer.SimpleTokenizer(context_length=length)
    # Both follow open_clip's configurations of the published models.
    clean = "canonicalize" if config["model_type"] == "siglip" else "whitespace"
    return FileTokenizer(folder, length, text.get("pad_token_id", 0), get_clean_fn(clean))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"teacher.model: {path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise WeightsError(f"teacher.model: {path}: is no table of a configuration")
    return content
