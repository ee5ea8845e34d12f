"""Augmentation that spans drawing styles: outlines, silhouettes, recolouring, photographs of art.

Every function maps float `[B, 3, S, S]` in 0..1 to the same; random draws come from torch's
global generator, which the training scripts seed at every step.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
KERNELS = torch.stack([SOBEL, SOBEL.T])[:, None]


def edges(x: Tensor) -> Tensor:
    """Dark edges on white: what is left of a drawing when its colours go."""
    grey = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    strength = F.conv2d(grey, KERNELS).pow(2).sum(1, keepdim=True).sqrt()
    gain = 0.8 + 1.2 * torch.rand(len(x), 1, 1, 1)
    return (1 - (strength * gain).clamp(0, 1)).expand_as(x)


def texture(count: int, size: int) -> Tensor:
    """Smooth colour fields, half of them with a finer grain on top."""
    cells = int(torch.randint(2, 9, ()))
    field = F.interpolate(torch.rand(count, 3, cells, cells), size=(size, size), mode="bicubic")
    if torch.rand(()) < 0.5:
        fine = torch.rand(count, 3, size // 4, size // 4) - 0.5
        field = field + 0.4 * F.interpolate(fine, size=(size, size))
    return field.clamp(0, 1)


def sometimes(x: Tensor, share: float, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Replace a random share of the images by `change(images, their positions)`, in place."""
    at = (torch.rand(len(x)) < share).nonzero()[:, 0]
    if len(at):
        x[at] = change(x[at], at)
    return x


def warp(x: Tensor, size: int) -> Tensor:
    """Rotation up to 20 degrees, scale, aspect, shift, mirror and a mild perspective."""
    n = len(x)
    angle = (torch.rand(n) - 0.5) * 0.7
    scale = torch.exp((torch.rand(n) - 0.4) * 0.8)
    aspect = torch.exp((torch.rand(n) - 0.5) * 0.4)
    mirror = (torch.rand(n) < 0.5).float() * 2 - 1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * scale * mirror * aspect
    theta[:, 0, 1] = -torch.sin(angle) * scale
    theta[:, 1, 0] = torch.sin(angle) * scale * mirror
    theta[:, 1, 1] = torch.cos(angle) * scale / aspect
    theta[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.4
    grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
    tilt = (torch.rand(n, 1, 1, 2) - 0.5) * 0.4
    grid = grid / (1 + (grid * tilt).sum(-1, keepdim=True)).clamp_min(0.3)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def augment(images: Tensor, size: int) -> Tensor:
    """uint8 `[B, 3, S0, S0]` on white to float `[B, 3, size, size]`."""
    x = images.float() / 255
    drawn = (x < 0.97).any(1, keepdim=True).float()
    x = sometimes(x, 0.15, lambda part, at: edges(part))
    x = sometimes(x, 0.12, lambda part, at: part.mean(1, keepdim=True).expand_as(part))
    x = sometimes(x, 0.18, lambda part, at: part[:, torch.randperm(3)])
    x = sometimes(x, 0.25, lambda part, at: recolour(part))
    x = sometimes(x, 0.35, lambda part, at: behind(part, drawn[at]))
    x = sometimes(x, 0.05, lambda part, at: 1 - part)
    x = warp(x, size)
    x = sometimes(x, 0.3, lambda part, at: blur(part))
    x = sometimes(x, 0.3, lambda part, at: noisy(part))
    x = sometimes(x, 0.3, lambda part, at: shaded(part))
    return (x * (0.75 + 0.4 * torch.rand(len(x), 1, 1, 1))).clamp_(0, 1)


def recolour(x: Tensor) -> Tensor:
    """Other contrast and another offset for each channel."""
    contrast, offset = 0.5 + torch.rand(len(x), 3, 1, 1), torch.rand(len(x), 3, 1, 1) - 0.5
    return ((x - 0.5) * contrast + 0.5 + 0.3 * offset).clamp(0, 1)


def behind(x: Tensor, drawn: Tensor) -> Tensor:
    """The drawing on a texture instead of white."""
    soft = F.avg_pool2d(F.max_pool2d(drawn, 3, 1, 1), 3, 1, 1)
    return x * soft + texture(len(x), x.shape[-1]) * (1 - soft)


def blur(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x) * (0.08 * torch.rand(len(x), 1, 1, 1))


def shaded(x: Tensor) -> Tensor:
    """A linear gradient of light across the image."""
    ramp = torch.linspace(-1, 1, x.shape[-1])
    light = torch.rand(len(x), 2, 1, 1) - 0.5
    return x * (1 + 0.4 * (light[:, :1] * ramp[:, None] + light[:, 1:] * ramp[None]))
