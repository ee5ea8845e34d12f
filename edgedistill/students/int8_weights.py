"""Storage of weights in one byte each, with a scale per output channel.

A matrix or kernel float32 `[out, ...]` becomes int8 under its own name and `NAME.scale`, float32
`[out]`, the largest magnitude of each output channel over 127. All else stays as it is.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"


def quantize_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors of two or more dimensions rounded to 255 levels per output channel."""
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            stored[name] = tensor
            continue
        rows = tensor.float().flatten(1)
        # A channel of zeros has any scale; 0 would divide by itself.
        scale = (rows.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        stored[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        stored[name + SCALE] = scale
    return stored


def dequantize_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 tensors behind `quantize_tensors`'; a state without any is returned as it is.

    Raises ValueError for an int8 tensor without a scale of its length: its numbers alone would load
    into a network, and be wrong.
    """
    restored = dict(state)
    for name, tensor in state.items():
        if tensor.dtype != torch.int8:
            continue
        scale = restored.pop(name + SCALE, None)
        if scale is None or scale.shape != tensor.shape[:1]:
            raise ValueError(f"int8 tensor '{name}' has no scale of shape {list(tensor.shape[:1])}")
        restored[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return restored
