"""Winograd convolutions for training on a CPU: 3 x 3 with a quarter of the multiplications.

On a CPU without AVX-512, oneDNN's float32 kernels run about as fast as a large matrix product does,
so the step of a ResNet only gets shorter with fewer multiplications. Winograd's minimal filtering
(Lavin and Gray, CVPR 2016) takes 36 for a tile of 4 x 4 outputs where the direct sum takes 144, and
25 for one of 3 x 3 where it takes 81. Its transforms are matrix products too; wide layers pay for
them, narrow ones keep the direct sum. Results differ from it by some 1e-5 of their scale.

oneDNN has no Winograd kernel for AVX2 and plans none (uxlfoundation/oneDNN#491), and torch asks it
for direct convolutions only (uxlfoundation/oneDNN#3139). `benchmarks/speed/results/student.json`
records a whole step of ResNet18 at 96 px without AVX-512: 1.07 times as fast as torch's defaults
with channels_last alone, 1.35 times with this too. With AVX-512 it is between 0.9 and 1.3 times as
fast as the direct sum, by layer. `tests/unit/train/cpu_kernels/test_still_needed.py` says when this
module can go.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, library, nn

TILES_AT_ONCE = 128  # few enough that the values between two products stay in the CPU's caches
# Channels on both sides that pay for the transforms, of an output and of a weight's gradient: the
# direct sum takes longer for that.
NARROWEST, NARROWEST_GRADIENT = 128, 64
LEAST_SAVING = 2.5  # multiplications of the direct sum over ours that pay for them


class Transforms(NamedTuple):
    """Matrices for flattened tiles of inputs, kernel and outputs, rows and columns at once."""

    into: Tensor  # [(tile + 2)^2, (tile + 2)^2]
    kernel: Tensor  # [(tile + 2)^2, 9]
    back: Tensor  # [tile^2, (tile + 2)^2]


# One side's transforms. Interpolation points 0, 1, -1, 2, (-2 for tiles of four,) and infinity.
_INTO = {
    3: [
        [2, -1, -2, 1, 0],
        [0, -2, -1, 1, 0],
        [0, 2, -3, 1, 0],
        [0, -1, 0, 1, 0],
        [0, 2, -1, -2, 1],
    ],
    4: [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
}
_KERNEL = {  # sixths, and twenty-fourths
    3: [[3, 0, 0], [-3, -3, -3], [-1, 1, -1], [1, 2, 4], [0, 0, 6]],
    4: [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
}
_BACK = {
    3: [[1, 1, 1, 1, 0], [0, 1, -1, 2, 0], [0, 1, 1, 4, 1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}


@cache
def transforms(tile: int, dtype: torch.dtype) -> Transforms:
    """The transforms for tiles of `tile` x `tile` outputs, `tile` 3 or 4."""
    into, kernel, back = (
        torch.tensor(t[tile], dtype=torch.float64) for t in (_INTO, _KERNEL, _BACK)
    )
    kernel /= {3: 6, 4: 24}[tile]
    return Transforms(*(torch.kron(t, t).to(dtype) for t in (into, kernel, back)))


def best_tile(height: int, width: int) -> int | None:
    """The side of the tile with the fewest products for a map; None if it saves too few."""
    products = {tile: -(-height // tile) * -(-width // tile) * (tile + 2) ** 2 for tile in (4, 3)}
    best = min(products, key=products.__getitem__)
    return best if 9 * height * width >= LEAST_SAVING * products[best] else None


class _Tiles:
    """Squares of `[B, C, H, W]` maps that start every `tile` pixels, a few images at a time.

    They overlap by twice `around` pixels, and beyond the map they are zero. One copy of the map's
    border serves all blocks of images, as memory that is new costs more than what is done in it.
    """

    def __init__(self, x: Tensor, tile: int, around: int) -> None:
        self.pixels = x.permute(0, 2, 3, 1)
        batch, self.height, self.width, channels = self.pixels.shape
        self.rows, self.columns = -(-self.height // tile), -(-self.width // tile)
        self.around, self.side = around, tile + 2 * around
        self.at_once = max(1, min(batch, TILES_AT_ONCE // (self.rows * self.columns)))
        size = (tile * self.rows + 2 * around, tile * self.columns + 2 * around)
        self.padded = x.new_zeros(self.at_once, *size, channels)
        image, row, column, channel = self.padded.stride()
        self.squares = self.padded.as_strided(
            (self.side, self.side, self.at_once, self.rows, self.columns, channels),
            (row, column, image, tile * row, tile * column, channel),
        )

    def blocks(self) -> Iterator[slice]:
        for start in range(0, len(self.pixels), self.at_once):
            yield slice(start, min(len(self.pixels), start + self.at_once))

    def of(self, block: slice) -> Tensor:
        """`[side^2, images * rows * columns * C]`; valid until the next block is asked for."""
        images = self.pixels[block]
        inside = self.padded[: len(images), self.around :, self.around :]
        inside[:, : self.height, : self.width] = images
        return self.squares[:, :, : len(images)].reshape(self.side**2, -1)


def convolve(x: Tensor, weight: Tensor, tile: int) -> Tensor:
    """A convolution of 3 x 3 with stride 1 and padding 1.

    Args:
        x: `[B, C, H, W]`, the input.
        weight: `[K, C, 3, 3]`, of the same dtype.
        tile: side of a tile of outputs, 3 or 4.

    Returns:
        `[B, K, H, W]` in channels_last memory format.
    """
    by = transforms(tile, x.dtype)
    channels, wide, points = x.shape[1], weight.shape[0], len(by.into)
    tiles = _Tiles(x, tile, 1)
    kernels = by.kernel @ weight.permute(2, 3, 1, 0).reshape(9, channels * wide)
    kernels = kernels.view(points, channels, wide)
    result = x.new_empty(len(x), *x.shape[2:], wide)
    for block in tiles.blocks():
        products = torch.bmm((by.into @ tiles.of(block)).view(points, -1, channels), kernels)
        outputs = (by.back @ products.view(points, -1)).view(
            tile, tile, -1, tiles.rows, tiles.columns, wide
        )
        maps = outputs.permute(2, 3, 0, 4, 1, 5)
        if tile * tiles.rows == tiles.height and tile * tiles.columns == tiles.width:
            result[block].view(maps.shape).copy_(maps)
        else:
            maps = maps.reshape(-1, tile * tiles.rows, tile * tiles.columns, wide)
            result[block] = maps[:, : tiles.height, : tiles.width]
    return result.permute(0, 3, 1, 2)


def weight_gradient(x: Tensor, grad: Tensor, tile: int) -> Tensor:
    """Gradient of `convolve`'s weight.

    Args:
        x: `[B, C, H, W]`, the input.
        grad: `[B, K, H, W]`, the gradient of the output.
        tile: side of a tile of outputs, 3 or 4.

    Returns:
        `[K, C, 3, 3]`.
    """
    by = transforms(tile, x.dtype)
    channels, wide, points = x.shape[1], grad.shape[1], len(by.into)
    tiles, grads = _Tiles(x, tile, 1), _Tiles(grad, tile, 0)
    total = x.new_zeros(points, channels, wide)
    for block in tiles.blocks():
        inputs = (by.into @ tiles.of(block)).view(points, -1, channels)
        gradients = (by.back.T @ grads.of(block)).view(points, -1, wide)
        total.baddbmm_(inputs.transpose(1, 2), gradients)
    kernels = by.kernel.T @ total.view(points, -1)
    return kernels.view(3, 3, channels, wide).permute(3, 2, 0, 1).contiguous()


# Operators, so that a compiled student calls these functions as they are.
@library.custom_op("edgedistill::winograd", mutates_args=())
def _convolution(x: Tensor, weight: Tensor, tile: int) -> Tensor:
    if min(weight.shape[:2]) >= NARROWEST:
        return convolve(x, weight, tile)
    output = F.conv2d(x, weight, padding=1)
    return output.contiguous(memory_format=torch.channels_last)


@_convolution.register_fake
def _(x: Tensor, weight: Tensor, tile: int) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


@library.custom_op("edgedistill::winograd_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, grad: Tensor, tile: int) -> Tensor:
    return weight_gradient(x, grad, tile)


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, tile: int) -> Tensor:
    return x.new_empty(grad.shape[1], x.shape[1], 3, 3)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    x, weight, ctx.tile = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight = ctx.saved_tensors
    x_grad = weight_grad = None
    if ctx.needs_input_grad[0]:
        x_grad = _convolution(grad, weight.flip(2, 3).transpose(0, 1), ctx.tile)
    if ctx.needs_input_grad[1]:
        weight_grad = _weight_gradient(x, grad, ctx.tile)
    return x_grad, weight_grad, None


_convolution.register_autograd(_backward, setup_context=_setup)


class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d` of 3 x 3 that trains with fewer multiplications where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        eligible = (
            self.training
            and input.device.type == "cpu"
            and input.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )
        tile = best_tile(*input.shape[2:]) if eligible else None
        if tile is None:
            return super().forward(input)
        output: Tensor = _convolution(input, self.weight, tile)
        return output


def use_winograd(module: nn.Module) -> None:
    """Let a network's wide 3 x 3 convolutions train with fewer multiplications, in place.

    Weights, their names and the outputs in `eval()` stay as they are.
    """
    for child in module.modules():
        if type(child) is nn.Conv2d and _eligible(child):
            child.__class__ = WinogradConv2d


def _eligible(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and conv.bias is None
        and min(conv.in_channels, conv.out_channels) >= NARROWEST_GRADIENT
    )
