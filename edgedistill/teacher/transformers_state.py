"""Names of a state dict of transformers' CLIP and SigLIP, brought into those of open_clip and timm.

A tensor without a rule keeps its name, so that a strict load refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Renames = Iterable[tuple[str, str]]

# A tensor that every text tower of transformers has.
TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight"
_POSITIONS = ".position_ids"

_OPEN_CLIP_BLOCK = (
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.qkv\.(weight|bias)$", r".attn.in_proj_\1"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
)
_TIMM_BLOCK = (
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.qkv\.", ".attn.qkv."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
)
_TEXT = (
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
)
_CLIP_IMAGE = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (
        r"^vision_model\.embeddings\.position_embedding\.weight$",
        "visual.positional_embedding",
    ),
    # The spelling is transformers'.
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
)
_SIGLIP_IMAGE = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.trunk.patch_embed.proj."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.trunk.pos_embed"),
    (r"^vision_model\.encoder\.layers\.", "visual.trunk.blocks."),
    (r"^vision_model\.post_layernorm\.", "visual.trunk.norm."),
    (r"^vision_model\.head\.probe$", "visual.trunk.attn_pool.latent"),
    (r"^vision_model\.head\.attention\.out_proj\.", "visual.trunk.attn_pool.proj."),
    (r"^vision_model\.head\.layernorm\.", "visual.trunk.attn_pool.norm."),
    (r"^vision_model\.head\.mlp\.", "visual.trunk.attn_pool.mlp."),
)
_ATTENTION_POOL = "vision_model.head.attention.in_proj_"


def clip_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of open_clip's `CLIP` from that of transformers' `CLIPModel`."""
    named = _without_positions(_with_qkv(state))
    vision, text = "visual_projection.weight", "text_projection.weight"
    renamed = _renamed(
        {k: t for k, t in named.items() if k not in (vision, text)},
        (*_TEXT, *_CLIP_IMAGE, *_OPEN_CLIP_BLOCK),
    )
    if vision in named:
        renamed["visual.proj"] = named[vision].T
    if text in named:
        renamed["text_projection"] = named[text].T
    return _with_scalars(renamed)


def siglip_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a SigLIP of open_clip, whose image tower is timm's, from transformers'."""
    named = _without_positions(_with_qkv(state))
    text = {k: t for k, t in named.items() if k.startswith("text_model.")}
    image = {k: t for k, t in named.items() if k not in text}
    for kind in ("weight", "bias"):
        packed = image.pop(_ATTENTION_POOL + kind, None)
        if packed is not None:
            query, key, value = packed.chunk(3)
            image[f"visual.trunk.attn_pool.q.{kind}"] = query
            image[f"visual.trunk.attn_pool.kv.{kind}"] = torch.cat([key, value])
    head = (r"^text_model\.head\.", "text_projection.")
    renamed = {
        f"text.{k}": t for k, t in _renamed(text, (*_TEXT, head, *_OPEN_CLIP_BLOCK)).items()
    } | _renamed(image, (*_SIGLIP_IMAGE, *_TIMM_BLOCK))
    grid = renamed.get("visual.trunk.pos_embed")
    if grid is not None:
        renamed["visual.trunk.pos_embed"] = grid[None]
    return _with_scalars(renamed)


def _renamed(state: Mapping[str, Tensor], rules: Renames) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _with_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of an attention as one tensor, as open_clip and timm have them."""
    merged = {}
    for name, tensor in state.items():
        base, dot, kind = name.partition(".self_attn.q_proj.")
        if dot:
            parts = [tensor, *(state[f"{base}.self_attn.{p}_proj.{kind}"] for p in "kv")]
            merged[f"{base}.self_attn.qkv.{kind}"] = torch.cat(parts)
        elif not re.search(r"\.self_attn\.[kv]_proj\.", name):
            merged[name] = tensor
    return merged


def _without_positions(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Counters 0, 1, 2, ... that earlier versions of transformers saved.
    return {k: t for k, t in state.items() if not k.endswith(_POSITIONS)}


def _with_scalars(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for name in ("logit_scale", "logit_bias"):
        if name in state and state[name].numel() == 1:
            state[name] = state[name].reshape(())
    return state
