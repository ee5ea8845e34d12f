"""Per-channel statistics of ImageNet's pixels, in [0, 1]: torchvision's normalization."""

from __future__ import annotations

Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
