"""Views: random crops that are a pure function of (seed, image, view number).

Nothing is stored: the parameters of a view come from a counter-based generator, so a view can be
made again at any time, in any batch, at any size. Teacher and student render the same parameters
each at its own input size. The augmentation is the one both methods use (random resized crop,
mirror, colour jitter, random greyscale), with three deliberate differences to torchvision's:
crops come from a stored square image and are not rounded to whole pixels, hue turns the chroma
plane of YIQ instead of HSV, and brightness, contrast, saturation and hue are applied in that order,
as one affine colour map.
"""

import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.data.pixels import to_chw_float
from edgedistill.recipe.schema import ViewsSection

# Raise when a view's pixels change: caches made by another version are then not used.
VERSION = 2

_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = torch.tensor([_LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)])
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Mixing:
    """Stored images and views to mix into a batch of views, on one device; M of B.

    Attributes:
        rows, shares, boxes: see `edgedistill.data.mixing.Partners`.
        pixels: uint8 `[M, S, S, 3]`.
        parameters: float32 `[M, 10]`, see `view_parameters`.
    """

    rows: Tensor
    shares: Tensor
    boxes: Tensor
    pixels: Tensor
    parameters: Tensor

    def apply(self, views: Tensor) -> Tensor:
        """Views float32 `[B, 3, size, size]` of the images themselves, some of them mixed now."""
        size = views.shape[-1]
        others = render_views(to_chw_float(self.pixels), self.parameters, size)
        places = (torch.arange(size, device=views.device) + 0.5) / size
        left, top, right, bottom = (side[:, None] for side in self.boxes.unbind(1))
        across = (places >= left) & (places < right)
        down = (places >= top) & (places < bottom)
        inside = (down[:, :, None] & across[:, None, :])[:, None]
        summed = (right <= left)[:, :, None, None]
        weight = torch.where(summed, self.shares[:, None, None, None], 1 - inside.float())
        mixed = views.clone()
        mixed[self.rows] = weight * views[self.rows] + (1 - weight) * others
        return mixed


@dataclass(frozen=True)
class ViewBatch:
    """Stored images and the view to cut from each, on one device.

    Attributes:
        pixels: uint8 `[B, S, S, 3]`.
        parameters: float32 `[B, 10]`, see `view_parameters`.
        mixing: what some of the views are mixed with, None where none is.
    """

    pixels: Tensor
    parameters: Tensor
    mixing: Mixing | None = None

    def render(self, size: int, rows: Tensor | None = None) -> Tensor:
        """The views of some rows of the batch, or of all: float32 `[b, 3, size, size]` in 0..1."""
        pixels, parameters = self.pixels, self.parameters
        if self.mixing is not None:
            views = self.mixing.apply(render_views(to_chw_float(pixels), parameters, size))
            return views if rows is None else views[rows]
        if rows is not None:
            pixels, parameters = pixels[rows], parameters[rows]
        return render_views(to_chw_float(pixels), parameters, size)


@dataclass(frozen=True)
class ViewSpec:
    """Ranges of the random parameters; see the recipe's `views` section."""

    seed: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grayscale: float
    mix: float = 0.0


def view_spec(section: ViewsSection) -> ViewSpec:
    """The random ranges of a recipe's section [views]."""
    return ViewSpec(**section.model_dump(exclude={"count", "store_size"}))


def image_key(path: str) -> int:
    """64-bit key of an image from its path in the dataset, stable when others come and go."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def view_parameters(
    spec: ViewSpec, keys: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Parameters of view `numbers[i]` of image `keys[i]`, float32 `[B, 10]`.

    Columns: centre x, centre y, width, height of the crop in -1..1 coordinates, mirror (±1),
    brightness, contrast, saturation factors, hue angle in radians, greyscale (0 or 1).
    A crop that would pass the border is drawn again, up to ten times, and is then the largest of
    the ratios' range in the middle of the image, as in torchvision's RandomResizedCrop.
    """
    u = uniforms(spec.seed, keys, numbers, 28)
    # Columns 0 and 1 are the first draw's area and ratio, those from 10 on the further draws'.
    width, height, free = _crop_sides(
        spec, u[:, [0, *range(10, 28, 2)]], u[:, [1, *range(11, 28, 2)]]
    )
    columns = [
        (2 * u[:, 2] - 1) * (1 - width) * free,
        (2 * u[:, 3] - 1) * (1 - height) * free,
        width,
        height,
        np.where(u[:, 4] < spec.flip, -1.0, 1.0),
        1 + spec.brightness * (2 * u[:, 5] - 1),
        1 + spec.contrast * (2 * u[:, 6] - 1),
        1 + spec.saturation * (2 * u[:, 7] - 1),
        2 * math.pi * spec.hue * (2 * u[:, 8] - 1),
        (u[:, 9] < spec.grayscale).astype(np.float64),
    ]
    return np.stack(columns, 1).astype(np.float32)


def _crop_sides(
    spec: ViewSpec, area: NDArray[np.float64], ratio: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Width and height of crops as shares of the side `[B]`, and whether they may be moved.

    Of the crops of `area` and `ratio` `[B, draws]`, uniform numbers in [0, 1), the first to fit.
    """
    areas = spec.scale[0] + (spec.scale[1] - spec.scale[0]) * area
    low, high = math.log(spec.ratio[0]), math.log(spec.ratio[1])
    ratios = np.exp(low + (high - low) * ratio)
    widths, heights = np.sqrt(areas * ratios), np.sqrt(areas / ratios)
    fits = (widths <= 1) & (heights <= 1)
    rows, first = np.arange(len(fits)), fits.argmax(axis=1)
    any_fits = fits[rows, first]
    nearest = min(max(1.0, spec.ratio[0]), spec.ratio[1])
    width = np.where(any_fits, widths[rows, first], min(1.0, nearest))
    height = np.where(any_fits, heights[rows, first], min(1.0, 1 / nearest))
    return width, height, any_fits


def draw_views(
    spec: ViewSpec, paths: Iterable[str], numbers: NDArray[np.int64]
) -> NDArray[np.float32]:
    """`view_parameters` of view `numbers[i]` of the image at `paths[i]`, float32 `[B, 10]`."""
    keys = np.array([image_key(path) for path in paths], dtype=np.uint64)
    return view_parameters(spec, keys, numbers)


def render_views(images: Tensor, parameters: Tensor, size: int) -> Tensor:
    """Cut and colour views.

    Args:
        images: `[B, 3, S, S]` stored images, values 0..255.
        parameters: float32 `[B, 10]` from `view_parameters`.
        size: side of the result in pixels.

    Returns:
        float32 `[B, 3, size, size]` in 0..1, not normalised.
    """
    p = parameters
    theta = torch.zeros(len(p), 2, 3, device=p.device)
    theta[:, 0, 0], theta[:, 0, 2] = p[:, 2] * p[:, 4], p[:, 0]
    theta[:, 1, 1], theta[:, 1, 2] = p[:, 3], p[:, 1]
    grid = F.affine_grid(theta, [len(p), 3, size, size], align_corners=False)
    x = F.grid_sample(images.float() / 255, grid, padding_mode="border", align_corners=False)
    matrix, offset = _color_map(x, p)
    colored = torch.baddbmm(offset[:, :, None], matrix, x.flatten(2))
    return colored.clamp_(0, 1).view_as(x)


def _color_map(x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The jitter of each image as `colour -> matrix @ colour + offset`."""
    luma, to_yiq, from_yiq = _constants(x.device)
    eye = torch.eye(3, device=x.device)
    gray = luma.expand(3, 3)
    brightness, contrast, saturation = (p[:, i, None, None] for i in (5, 6, 7))
    mean = (x.mean((2, 3)) @ luma)[:, None] * p[:, 5, None]
    cos, sin, one = p[:, 8].cos(), p[:, 8].sin(), torch.ones_like(p[:, 8])
    zero = torch.zeros_like(one)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    hue = from_yiq @ turn @ to_yiq
    color = hue @ (saturation * eye + (1 - saturation) * gray)
    color = torch.where(p[:, 9, None, None] > 0, gray @ color, color)
    matrix = color @ (contrast * brightness * eye)
    offset = color @ ((1 - p[:, 6, None]) * mean).expand(-1, 3)[:, :, None]
    return matrix, offset[:, :, 0]


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    # Kept on the device: sending them there makes the host wait.
    return torch.tensor(_LUMA, device=device), _TO_YIQ.to(device), _FROM_YIQ.to(device)


def uniforms(
    seed: int, keys: NDArray[np.uint64], numbers: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """`[B, count]` numbers in [0, 1): splitmix64 of (seed, key, number, column)."""
    with np.errstate(over="ignore"):
        state = _mix(keys ^ _mix(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)))
        state = _mix(state + numbers.astype(np.uint64) * np.uint64(0xD1342543DE82EF95))
        columns = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = _mix(state[:, None] + columns[None])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    z = np.asarray(x, dtype=np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
