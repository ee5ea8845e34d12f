"""QuickGELU: which weights were trained with OpenAI's approximation of GELU, and which were not.

The two activations have the same tensors, so that weights load under either, and answer worse under
the wrong one. No tensor says which it was; what does is open_clip's table of published files, the
tensors that OpenAI's own files have beside the weights, a configuration of transformers, and, less
surely, the name that somebody gave a file or folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import open_clip

# What OpenAI's files hold beside the weights.
OPENAI_TENSORS = ("input_resolution", "context_length", "vocab_size")
_SUFFIX = "-quickgelu"
_QUICK_NAMES = re.compile(r"openai|quick_?gelu", re.IGNORECASE)


def trained_with_quick_gelu(name: str, tensors: Collection[str] = ()) -> bool | None:
    """Whether weights were trained with QuickGELU; None where nothing tells.

    Args:
        name: of the file, or of the folder that it lies in.
        tensors: names of the tensors in it.
    """
    if set(OPENAI_TENSORS) <= set(tensors):
        return True
    published = _published().get(name)
    if published is not None:
        return published
    return True if _QUICK_NAMES.search(name) else None


def activation_warning(
    model: str, is_quick: bool, was_quick: bool | None, source: str
) -> str | None:
    """A line about weights under another activation than they were trained with, or None.

    Args:
        model: the model's name in the recipe.
        is_quick: whether its network has QuickGELU.
        was_quick: whether its weights were trained with it.
        source: their file or folder.
    """
    if was_quick is None or was_quick == is_quick:
        return None
    trained, used = ("QuickGELU", "GELU") if was_quick else ("GELU", "QuickGELU")
    other = model.removesuffix(_SUFFIX) if is_quick else f"{model}{_SUFFIX}"
    if other != model and other in open_clip.list_models():
        advice = f'set teacher.model to "{other}"'
    else:
        value = str(was_quick).lower()
        advice = f'set "quick_gelu": {value} in model_cfg of its open_clip_config.json'
    return (
        f"teacher: {source} was trained with {trained}, as far as its name and tensors tell, and "
        f"{model} has {used}: its embeddings are worse than they should be; {advice}"
    )


@cache
def _published() -> dict[str, bool]:
    """Published files of one activation, by name, and whether that is QuickGELU."""
    kinds: dict[str, set[bool]] = {}
    for model, tag in open_clip.list_pretrained():
        entry = open_clip.get_pretrained_cfg(model, tag)
        name = PurePosixPath(urlsplit(entry.get("url") or "").path).name
        if name:
            config = open_clip.get_model_config(model) or {}
            quick = bool(entry.get("quick_gelu") or config.get("quick_gelu"))
            kinds.setdefault(name, set()).add(quick)
    return {name: quick.pop() for name, quick in kinds.items() if len(quick) == 1}
