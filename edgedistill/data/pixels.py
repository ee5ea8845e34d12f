"""Pixel values as tensors: the one conversion from stored bytes, and per-channel normalization."""

from functools import cache

import torch
from torch import Tensor

from edgedistill.data.normalization import Channels


def to_chw(images: Tensor) -> Tensor:
    """`[B, H, W, 3]` as a view `[B, 3, H, W]`, of any dtype."""
    return images.permute(0, 3, 1, 2)


def to_chw_float(images: Tensor) -> Tensor:
    """uint8 `[B, H, W, 3]` to float32 `[B, 3, H, W]` with the same values, 0..255."""
    return to_chw(images).float()


def normalize(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """float `[B, 3, H, W]` in 0..1, minus the channel's mean, over its standard deviation."""
    center = _by_channel(mean, images.device, images.dtype)
    return (images - center) / _by_channel(std, images.device, images.dtype)


@cache
def _by_channel(values: Channels, device: torch.device, dtype: torch.dtype) -> Tensor:
    # Kept on the device: sending them there makes the host wait.
    return torch.tensor(values, device=device, dtype=dtype)[:, None, None]
