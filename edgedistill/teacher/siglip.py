"""SigLIP (Zhai et al. 2023, arXiv 2303.15343): timm's ViT with attention pooling, and a text tower.

open_clip builds it for the sizes that timm has names for; this is the same network, with the same
names of its tensors, for any size that a configuration gives.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from open_clip.transformer import LayerNorm, TextTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class ImageTower(nn.Module):
    """Normalized images `[B, 3, image_size, image_size]` to embeddings `[B, D]`."""

    def __init__(self, trunk: nn.Module, image_size: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.image_size = image_size

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.trunk(images)
        return pooled


class SigLIP(nn.Module):
    """Image and text tower, with the interface of open_clip's models.

    Args:
        vision, text: sections of a configuration of transformers, all keys given.
    """

    def __init__(self, vision: dict[str, Any], text: dict[str, Any]) -> None:
        super().__init__()
        activation = partial(nn.GELU, approximate="tanh")
        trunk = VisionTransformer(
            img_size=vision["image_size"],
            patch_size=vision["patch_size"],
            num_classes=0,
            global_pool="map",
            class_token=False,
            embed_dim=vision["hidden_size"],
            depth=vision["num_hidden_layers"],
            num_heads=vision["num_attention_heads"],
            mlp_ratio=mlp_ratio(vision),
            act_layer=activation,
            norm_layer=partial(nn.LayerNorm, eps=vision["layer_norm_eps"]),
        )
        # Earlier versions of timm give the pooling the exact GELU.
        trunk.attn_pool.mlp.act = activation()
        self.visual = ImageTower(trunk, vision["image_size"])
        self.text = TextTransformer(
            context_length=text["max_position_embeddings"],
            vocab_size=text["vocab_size"],
            width=text["hidden_size"],
            heads=text["num_attention_heads"],
            layers=text["num_hidden_layers"],
            mlp_ratio=mlp_ratio(text),
            output_dim=text["projection_size"],
            no_causal_mask=True,
            pool_type="last",
            proj_bias=True,
            act_layer=activation,
            norm_layer=partial(LayerNorm, eps=text["layer_norm_eps"]),
        )
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_bias = nn.Parameter(torch.zeros(()))

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeddings `[B, D]`, not normalized."""
        embeddings: Tensor = self.visual(images)
        return embeddings

    def encode_text(self, ids: Tensor) -> Tensor:
        """Embeddings `[n, D]` of token ids int64 `[n, L]`, not normalized."""
        embeddings: Tensor = self.text(ids)
        return embeddings


def mlp_ratio(section: dict[str, Any]) -> float:
    """Ratio that gives a section's `intermediate_size` when a width times it is rounded down."""
    return (section["intermediate_size"] + 0.5) / section["hidden_size"]
