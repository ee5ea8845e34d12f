"""The frozen teacher: any model of open_clip, or a CLIP or SigLIP in transformers' format."""

import contextlib
import io
import json
import logging
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from edgedistill import callbacks
from edgedistill._utils.hub import hub_unless_unreachable, is_offline_error
from edgedistill._utils.suggestions import choices
from edgedistill.errors import RecipeError, WeightsError
from edgedistill.students.checkpoints import is_torchscript, read_checkpoint, tensor_names
from edgedistill.teacher.activation import (
    OPENAI_TENSORS,
    activation_warning,
    trained_with_quick_gelu,
)
from edgedistill.teacher.base import Teacher, weights_fingerprint
from edgedistill.teacher.image_only import PREFIX, load_image_teacher
from edgedistill.teacher.transformers_format import (
    is_transformers_folder,
    load_folder,
    read_config,
    uses_quick_gelu,
)
from edgedistill.teacher.transformers_state import TOKEN_EMBEDDING, clip_state, siglip_state

WEIGHTS = Path(__file__).parent.parent / "weights"
# Models shipped inside the package, by the name a recipe gives them.
EMBEDDED = {"emoji-clip": WEIGHTS / "emoji-clip"}
# Checkpoints of big_vision, which open_clip reads.
_NUMPY = (".npz", ".npy")


def load_teacher(
    model: str, pretrained: str, device: torch.device, size: int | None = None
) -> Teacher:
    """Load a CLIP or SigLIP model, or an image-only network of timm, with weights.

    A warning names weights that were trained with another activation than the model has.

    Args:
        model: a model name of open_clip, `hf-hub:ORG/NAME`, a folder, with or without `local-dir:`,
            in the format of open_clip or of transformers, a name in `EMBEDDED`, or `timm/NAME`.
        pretrained: open_clip's tag or a checkpoint file, for a plain model name only; of timm's
            networks a file, else timm's own weights are taken.
        size: input side in pixels of timm's networks, None for that of their published weights.

    Raises:
        WeightsError: unknown model or tag, missing or unreadable weights; says where to put a file
            by hand.
        RecipeError: `pretrained` beside a model that brings its own weights, or `size` for one that
            has a side of its own.
        MissingPackageError: the model's tokenizer needs a package that is not installed.
    """
    if model.startswith(PREFIX):
        return load_image_teacher(model, pretrained, device, size)
    if size is not None:
        raise RecipeError(f"teacher.size: {model!r} has an input side of its own; leave it out")
    folder = _folder(model)
    if folder is None and not model.startswith("hf-hub:"):
        _check_names(model, pretrained)
    elif pretrained:
        raise RecipeError(f"teacher.pretrained: {model!r} brings its own weights; leave it out")
    if folder is not None and is_transformers_folder(folder):
        with _quiet():
            net, tokenizer = load_folder(folder, device)
    else:
        net, tokenizer = _load_open_clip(model, pretrained, folder, device)
    net.eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    visual: Any = net.visual
    size = visual.image_size
    config = open_clip.get_model_preprocess_cfg(net)
    return Teacher(
        model=net,
        tokenizer=tokenizer,
        name=f"{model}/{pretrained}" if pretrained else model,
        fingerprint=weights_fingerprint(net),
        size=size[0] if isinstance(size, tuple | list) else int(size),
        width=_width(net, tokenizer, device, model),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        logit_scale=float(net.logit_scale.detach().exp()),  # type: ignore[operator]
        device=device,
    )


def _folder(model: str) -> Path | None:
    """The folder that a recipe's `teacher.model` means, None for a name of open_clip or the hub."""
    if model in EMBEDDED:
        return EMBEDDED[model]
    if model.startswith("local-dir:"):
        return Path(model.removeprefix("local-dir:"))
    is_name = model.startswith("hf-hub:") or model in open_clip.list_models()
    return Path(model) if not is_name and Path(model).is_dir() else None


def _load_open_clip(
    model: str, pretrained: str, folder: Path | None, device: torch.device
) -> tuple[nn.Module, Any]:
    """open_clip's network and tokenizer, of a name with weights, the hub, or a folder."""
    source, file, tensors = model, Path(pretrained), frozenset[str]()
    if folder is not None:
        _check_folder(folder)
        source = f"local-dir:{folder}"
    elif file.is_file() and file.suffix not in _NUMPY:
        tensors = _tensor_names(model, file)
    is_foreign = TOKEN_EMBEDDING in tensors or set(OPENAI_TENSORS) <= tensors
    unreachable = ""
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_quiet())
            if folder is None and not file.is_file():
                unreachable = stack.enter_context(hub_unless_unreachable())
            net = open_clip.create_model(
                source,
                pretrained=None if is_foreign else pretrained or None,
                device=device,
                # OpenAI's weights were trained with it, whatever the plain model's config says.
                force_quick_gelu=_quick_gelu(source, pretrained),
                require_pretrained=not is_foreign,
            )
            if is_foreign:
                net.load_state_dict(_foreign_state(file))
            tokenizer = open_clip.get_tokenizer(source, **_tokenizer_files(folder))
    except Exception as error:
        raise WeightsError(_explain(model, pretrained, error, unreachable)) from error
    _warn_of_activation(model, folder, file, tensors)
    return net, tokenizer


def _tensor_names(model: str, file: Path) -> frozenset[str]:
    if is_torchscript(file):
        quick = f"{model}-quickgelu"
        advice = f", and teacher.model to {quick} for OpenAI's" if _has_model(quick) else ""
        raise WeightsError(
            f"teacher.pretrained: {file}: a TorchScript archive, which holds code, as OpenAI's "
            "files do; save its tensors alone, torch.save(torch.jit.load(FILE).state_dict(), "
            f"OTHER), and set teacher.pretrained to that file{advice}"
        )
    try:
        return tensor_names(file)
    except WeightsError as error:
        raise WeightsError(f"teacher.pretrained: {file}: not weights of {model}: {error}") from None


def _foreign_state(file: Path) -> dict[str, Tensor]:
    """The state of open_clip's network from a file of transformers' names, or of OpenAI's."""
    tensors = read_checkpoint(file).tensors
    if TOKEN_EMBEDDING not in tensors:
        return {k: t for k, t in tensors.items() if k not in OPENAI_TENSORS}
    return (siglip_state if "vision_model.head.probe" in tensors else clip_state)(tensors)


def _warn_of_activation(
    model: str, folder: Path | None, file: Path, tensors: frozenset[str]
) -> None:
    if folder is not None:
        config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        was_quick, source = trained_with_quick_gelu(folder.name), folder
    elif file.is_file():
        config = open_clip.get_model_config(model) or {}
        was_quick, source = trained_with_quick_gelu(file.name, tensors), file
        if TOKEN_EMBEDDING in tensors and is_transformers_folder(file.parent):
            was_quick = uses_quick_gelu(read_config(file.parent))
    else:
        return
    is_quick = bool(config.get("quick_gelu", False))
    warning = activation_warning(model, is_quick, was_quick, str(source))
    if warning and model not in EMBEDDED:
        callbacks.current().on_warning(warning)


def _has_model(name: str) -> bool:
    return name in open_clip.list_models()


@torch.no_grad()
def _width(net: nn.Module, tokenizer: Any, device: torch.device, model: str) -> int:
    ids = tokenizer(["a"]).to(device)
    text: Any = getattr(net, "text", net)
    vocabulary = getattr(text, "vocab_size", None)
    if vocabulary is not None and int(ids.max()) >= vocabulary:
        raise WeightsError(
            f"teacher: {model}: its tokenizer gives ids up to {int(ids.max())}, and the text tower "
            f"has {vocabulary}; put the model's own tokenizer.json beside its weights"
        )
    # A text is cheaper than an image; both towers end in one space.
    return int(net.encode_text(ids).shape[1])  # type: ignore[operator]


def _quick_gelu(model: str, pretrained: str) -> bool:
    tag = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    return bool(tag.get("quick_gelu", False))


def _check_names(model: str, pretrained: str) -> None:
    if model not in open_clip.list_models():
        allowed = [*EMBEDDED, *open_clip.list_models()]
        raise RecipeError(f"teacher.model: no model {model!r}; {choices(model, allowed)}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if not pretrained:
        raise RecipeError(
            f"teacher.pretrained: {model} needs weights: a checkpoint file or one of "
            f"{', '.join(tags) or 'its published tags (none)'}"
        )
    if pretrained not in tags and not Path(pretrained).is_file():
        raise RecipeError(
            f"teacher.pretrained: {pretrained!r} is neither a file nor a tag of {model}; "
            f"{choices(pretrained, tags) if tags else 'it has no published tags'}"
        )


def _check_folder(folder: Path) -> None:
    if not (folder / "open_clip_config.json").is_file():
        raise WeightsError(
            f"teacher.model: {folder}: no open_clip_config.json there, and no config.json; put "
            "the model's config and its weights into that folder"
        )
    if not any(p for s in ("safetensors", "bin", "pth") for p in folder.glob(f"*.{s}")):
        raise WeightsError(
            f"teacher.model: {folder}: no weights there; put open_clip_model.safetensors into it"
        )


def _tokenizer_files(folder: Path | None) -> dict[str, str]:
    """A merge list that a local folder's config names relative to itself."""
    if folder is None:
        return {}
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = config.get("model_cfg", {}).get("text_cfg", {})
    path = (text.get("tokenizer_kwargs") or {}).get("bpe_path")
    return {"bpe_path": str(folder / path)} if path else {}


def _explain(model: str, pretrained: str, error: Exception, unreachable: str = "") -> str:
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    if unreachable and is_offline_error(error):
        reason = unreachable
    if isinstance(error, pickle.UnpicklingError):
        reason = "the file holds code or no weights, and only plain tensors are loaded"
    if isinstance(error, ModuleNotFoundError) and error.name == "transformers":
        return (
            f"teacher.model: {model}: its tokenizer is not part of open_clip; put the model's "
            "config.json, model.safetensors and tokenizer.json, in transformers' format, into a "
            "folder and set teacher.model to it"
        )
    if pretrained and Path(pretrained).is_file():
        return f"teacher.pretrained: {pretrained}: not weights of {model}: {reason}"
    if _folder(model) is not None:
        return (
            f"teacher.model: {model}: cannot be loaded: {reason}; put the model's "
            "open_clip_config.json and open_clip_model.safetensors there again"
        )
    return (
        f"teacher: the weights of {f'{model} {pretrained}'.rstrip()} could not be fetched "
        f"({reason}); {_by_hand(model, pretrained)}"
    )


def _by_hand(model: str, pretrained: str) -> str:
    if model.startswith("hf-hub:"):
        return "download its files on another machine and set teacher.model to local-dir:FOLDER"
    advice = "download them on another machine and set teacher.pretrained to the checkpoint file"
    # A file does not say which activation it was trained with, as its tag does.
    same = f"{model}-quickgelu"
    if _quick_gelu(model, pretrained) and same in open_clip.list_models():
        advice += f" and teacher.model to {same}"
    return advice


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence open_clip, which logs and warns about choices that are made here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
