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
    gray = F.pad(x.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    strength = F.conv2d(gray, KERNELS).pow(2).sum(1, keepdim=True).sqrt()
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


def surface(count: int, size: int) -> Tensor:
    """Backgrounds of photographed things: cloudy, grained or striped, in two colours each."""
    total = torch.zeros(count, 1, size, size)
    stretch = int(torch.randint(1, 9, ()))
    for octave in range(4):
        high = 3 * 2**octave
        grid = torch.rand(count, 1, high, max(2, high // stretch))
        total += F.interpolate(grid, size=(size, size), mode="bicubic") / 2**octave
    if torch.rand(()) < 0.4:
        across = torch.linspace(0, 1, size) * (4 + 20 * torch.rand(count, 1, 1, 1))
        total = total + 1.2 * torch.rand(count, 1, 1, 1) * torch.sin(6.283 * across + 2 * total)
    low, high_value = total.amin((2, 3), keepdim=True), total.amax((2, 3), keepdim=True)
    amount = (total - low) / (high_value - low)
    if torch.rand(()) < 0.5:
        amount = amount.transpose(2, 3)
    gray = 0.15 + 0.8 * torch.rand(2, count, 1, 1, 1)
    first, second = gray + 0.5 * (torch.rand(2, count, 3, 1, 1) - 0.5)
    grain = 0.06 * torch.rand(count, 1, 1, 1) * torch.randn(count, 1, size, size)
    return (first + (second - first) * amount + grain).clamp(0, 1)


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


def photograph(x: Tensor, drawn: Tensor, size: int) -> Tensor:
    """The drawing as a small sticker on a surface, seen askew in uneven light by a cheap lens.

    `drawn` `[B, 1, S0, S0]` is 1 where the drawing covers the paper. A third each of the stickers
    is cut out along the drawing with a white rim, printed on a white card, printed bare.
    """
    n = len(x)
    kind = torch.randint(3, (n, 1, 1, 1))
    rim = F.max_pool2d(drawn, 9, 1, 4)
    paper = torch.where(kind == 0, rim, torch.where(kind == 1, torch.ones_like(drawn), drawn))
    angle, zoom = 0.3 * torch.randn(n), 1.1 + 0.5 * torch.rand(n)
    aspect = torch.exp((torch.rand(n) - 0.5) * 0.3)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) * zoom * aspect, -torch.sin(angle) * zoom
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) * zoom, torch.cos(angle) * zoom / aspect
    theta[:, :, 2] = (torch.rand(n, 2) - 0.5) * 0.3
    grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
    tilt = (torch.rand(n, 1, 1, 2) - 0.5) * 0.5
    grid = grid / (1 + (grid * tilt).sum(-1, keepdim=True)).clamp_min(0.3)
    laid = F.grid_sample(torch.cat([x, paper], 1), grid, align_corners=False)
    cover = laid[:, 3:].clamp(0, 1)
    shift = [int(v) for v in torch.randint(-2, 3, (2,))]
    shadow = F.avg_pool2d(torch.roll(cover, shift, (2, 3)), 5, 1, 2)
    ground = surface(n, size) * (1 - (0.2 + 0.4 * torch.rand(n, 1, 1, 1)) * shadow)
    # Zeros beyond the sticker are already weighted by the cover that sampling interpolated.
    scene = ground * (1 - cover) + laid[:, :3]
    ramp = torch.linspace(-0.5, 0.5, size)
    turn = 6.283 * torch.rand(n, 1, 1, 1)
    along = torch.cos(turn) * ramp[:, None] + torch.sin(turn) * ramp[None]
    light = 1 + (0.05 + 0.4 * torch.rand(n, 1, 1, 1)) * along
    light = light - 0.35 * torch.rand(n, 1, 1, 1) * (ramp[:, None] ** 2 + ramp[None] ** 2)
    edge = 0.3 * torch.rand(n, 1, 1, 1) * (torch.rand(n, 1, 1, 1) < 0.3)
    light = light * (1 - edge * torch.sigmoid(25 * (along + 0.2)))
    lamp = 1 + 0.09 * torch.randn(n, 3, 1, 1)
    exposure = torch.exp(0.15 * torch.randn(n, 1, 1, 1) - 0.05)
    scene = scene * light * lamp * exposure
    scene = torch.where(torch.rand(n, 1, 1, 1) < 0.5, blur(scene), scene)
    noise = torch.randn(n, 3, size, size) * 0.6 + torch.randn(n, 1, size, size) * 0.8
    return scene + 0.035 * torch.rand(n, 1, 1, 1) * noise


def augment(images: Tensor, size: int, photos: float = 0.25) -> Tensor:
    """uint8 `[B, 3, S0, S0]` on white to float `[B, 3, size, size]`; a share of them as photos."""
    x = images.float() / 255
    drawn = (x < 0.97).any(1, keepdim=True).float()
    camera = torch.rand(len(x)) < photos
    taken = photograph(x[camera], drawn[camera], size) if camera.any() else x[:0]
    x = sometimes(x, 0.15, lambda part, at: edges(part))
    x = sometimes(x, 0.12, lambda part, at: part.mean(1, keepdim=True).expand_as(part))
    x = sometimes(x, 0.18, lambda part, at: part[:, torch.randperm(3)])
    x = sometimes(x, 0.25, lambda part, at: recolor(part))
    x = sometimes(x, 0.35, lambda part, at: behind(part, drawn[at]))
    x = sometimes(x, 0.05, lambda part, at: 1 - part)
    x = warp(x, size)
    x = sometimes(x, 0.3, lambda part, at: blur(part))
    x = sometimes(x, 0.3, lambda part, at: noisy(part))
    x = sometimes(x, 0.3, lambda part, at: shaded(part))
    x = x * (0.75 + 0.4 * torch.rand(len(x), 1, 1, 1))
    x[camera] = taken
    return x.clamp_(0, 1)


def recolor(x: Tensor) -> Tensor:
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
