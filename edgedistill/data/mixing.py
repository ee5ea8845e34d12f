"""Mixed views: a share of the views is mixed with the same view of another image.

Half of them by mixup (Zhang et al. 2018, arXiv 1710.09412), a weighted sum, and half by CutMix (Yun
et al. 2019, arXiv 1905.04899), a rectangle of the other view; the weight of the image itself is
uniform in [0, 1). As every view, a mixed one is a pure function of (seed, image, view number) and
the list of images, so it can be made again in any batch and at any size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgedistill.data.images import ImageSet
from edgedistill.data.views import Mixing, ViewSpec, draw_views, image_key, uniforms

# Seeds of recipes are below 2**32, so no recipe's views are drawn from the same stream.
_STREAM = 1 << 40


@dataclass(frozen=True)
class Partners:
    """The views of a batch that are mixed, and what with; M of B.

    Attributes:
        rows: int64 `[M]`, which views of the batch.
        positions: int64 `[M]`, the other images' positions among the images.
        shares: float32 `[M]`, weight of the image itself.
        boxes: float32 `[M, 4]`, left, top, right and bottom of the rectangle of the other view, as
            shares of the side; all 0 where the two are summed.
    """

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    shares: NDArray[np.float32]
    boxes: NDArray[np.float32]


def draw_partners(
    spec: ViewSpec, images: ImageSet, positions: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Partners:
    """What view `numbers[i]` of image `positions[i]` is mixed with, of those that are.

    The other image is any of `images`, all equally likely.
    """
    paths = (images.paths[row] for row in images.rows[positions])
    keys = np.array([image_key(path) for path in paths], dtype=np.uint64)
    u = uniforms(spec.seed + _STREAM, keys, numbers, 6)
    rows = np.flatnonzero(u[:, 0] < spec.mix)
    u = u[rows]
    half = np.sqrt(1 - u[:, 2]) / 2
    edges = [np.clip(u[:, 4 + i % 2] + (half if i > 1 else -half), 0, 1) for i in range(4)]
    boxes = np.where(u[:, 1:2] < 0.5, 0, np.stack(edges, 1))
    others = (u[:, 3] * len(images)).astype(np.int64)
    return Partners(rows, others, u[:, 2].astype(np.float32), boxes.astype(np.float32))


def draw_mixing(
    spec: ViewSpec,
    images: ImageSet,
    positions: NDArray[np.int64],
    numbers: NDArray[np.int64],
    send: Callable[[NDArray[Any]], Tensor],
) -> Mixing | None:
    """The mixing of a batch of views; None where no view of it is mixed.

    Args:
        positions, numbers: int64 `[B]`, images and the view of each.
        send: an array to the device.
    """
    if not spec.mix:
        return None
    partners = draw_partners(spec, images, positions, numbers)
    if not len(partners.rows):
        return None
    paths = (images.paths[row] for row in images.rows[partners.positions])
    parameters = draw_views(spec, paths, numbers[partners.rows])
    pixels = images[partners.positions]
    return Mixing(
        *(send(a) for a in (partners.rows, partners.shares, partners.boxes, pixels, parameters))
    )


def mixed_hashes(
    spec: ViewSpec, images: ImageSet, hashes: NDArray[np.uint64], count: int
) -> NDArray[np.uint64]:
    """A hash of the pixels that the first `count` views of each image are made of, uint64 `[N]`.

    Args:
        hashes: `pixel_hash` of each image, uint64 `[N]`.
    """
    combined, positions = hashes.copy(), np.arange(len(images))
    with np.errstate(over="ignore"):
        for number in range(count):
            partners = draw_partners(spec, images, positions, np.full(len(images), number))
            rows = partners.rows
            # An odd factor: which image it is, and in which view, counts.
            combined[rows] = combined[rows] * np.uint64(0x9E3779B97F4A7C15) + (
                hashes[partners.positions] ^ np.uint64(number)
            )
    return np.maximum(combined, np.uint64(1))
