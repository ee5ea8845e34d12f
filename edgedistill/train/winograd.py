"""Dense 3 x 3 convolutions of a training step on a CPU, with a quarter of the multiplications.

On a CPU without AVX-512, oneDNN's float32 kernels run about as fast as a large matrix product does,
so the step of a ResNet only gets shorter with fewer multiplications. Winograd's minimal filtering
F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016) takes 36 where the direct sum takes 144. Its transforms
are matrix products too; wide layers pay for them, narrow ones and small maps keep the direct sum.
Results differ from it by some 1e-5 of their scale.
`python benchmarks/speed/student.py` measures what a step gains.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 4  # outputs per side of a tile, which reads two inputs more
TILES_AT_ONCE = 64  # few enough that what is between two products stays in the CPU's caches
NARROWEST = 128  # channels on both sides that pay for the transforms
FULLEST = 0.75  # least share of the tiles' outputs that lies on the map

# One-dimensional transforms with the interpolation points 0, 1, -1, 2, -2 and infinity.
_INPUT = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float64,
)
_KERNEL = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_OUTPUT = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    dtype=torch.float64,
)


def _both(transform: Tensor, like: Tensor) -> Tensor:
    """The transform of rows and columns of a flattened tile at once."""
    return torch.kron(transform, transform).to(like.dtype)


def _tiles(size: int) -> int:
    return -(-size // TILE)


def _patches(x: Tensor, side: int, before: int) -> Tensor:
    """Tiles of `x` that start every `TILE` pixels, as `[side, side, B, rows, columns, C]`.

    Args:
        x: `[B, C, H, W]`. side: pixels of a tile. before: zeros above and left of the map.
    """
    batch, channels, height, width = x.shape
    rows, columns = _tiles(height), _tiles(width)
    after = side - TILE - before
    padded = F.pad(
        x.permute(0, 2, 3, 1),
        (0, 0, before, TILE * columns - width + after, before, TILE * rows - height + after),
    ).contiguous()
    image, row, column, channel = padded.stride()
    return padded.as_strided(
        (side, side, batch, rows, columns, channels),
        (row, column, image, TILE * row, TILE * column, channel),
    )


def _blocks(batch: int, tiles: int) -> Iterator[slice]:
    """Images that are taken together."""
    images = max(1, TILES_AT_ONCE // tiles)
    for start in range(0, batch, images):
        yield slice(start, min(batch, start + images))


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution of 3 x 3 with stride 1 and padding 1.

    Args:
        x: `[B, C, H, W]`. weight: `[K, C, 3, 3]`, of the same dtype.

    Returns:
        `[B, K, H, W]` in channels_last memory format.
    """
    batch, channels, height, width = x.shape
    wide = weight.shape[0]
    rows, columns = _tiles(height), _tiles(width)
    patches = _patches(x, TILE + 2, 1)
    kernels = _both(_KERNEL, x) @ weight.permute(2, 3, 1, 0).reshape(9, channels * wide)
    kernels = kernels.view(36, channels, wide)
    into, back = _both(_INPUT, x), _both(_OUTPUT, x)
    result = x.new_empty(batch, TILE * rows, TILE * columns, wide)
    for block in _blocks(batch, rows * columns):
        seen = patches[:, :, block].reshape(36, -1)
        products = torch.bmm((into @ seen).view(36, -1, channels), kernels)
        found = (back @ products.view(36, -1)).view(TILE, TILE, -1, rows, columns, wide)
        result[block].view(-1, rows, TILE, columns, TILE, wide).copy_(
            found.permute(2, 3, 0, 4, 1, 5)
        )
    return result[:, :height, :width].permute(0, 3, 1, 2)


def weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """Gradient of `convolve`'s weight.

    Args:
        x: `[B, C, H, W]`, the input. grad: `[B, K, H, W]`, the gradient of the output.

    Returns:
        `[K, C, 3, 3]`.
    """
    channels, wide = x.shape[1], grad.shape[1]
    patches, grads = _patches(x, TILE + 2, 1), _patches(grad, TILE, 0)
    into, back = _both(_INPUT, x), _both(_OUTPUT, x).T.contiguous()
    total = x.new_zeros(36, channels, wide)
    for block in _blocks(len(x), _tiles(x.shape[2]) * _tiles(x.shape[3])):
        seen = (into @ patches[:, :, block].reshape(36, -1)).view(36, -1, channels)
        asked = (back @ grads[:, :, block].reshape(TILE * TILE, -1)).view(36, -1, wide)
        total.baddbmm_(seen.transpose(1, 2), asked)
    kernels = _both(_KERNEL, x).T @ total.view(36, -1)
    return kernels.view(3, 3, channels, wide).permute(3, 2, 0, 1).contiguous()


# Operators, so that a compiled student calls these functions as they are.
@torch.library.custom_op("edgedistill::winograd", mutates_args=())
def _convolution(x: Tensor, weight: Tensor) -> Tensor:
    return convolve(x, weight).contiguous(memory_format=torch.channels_last)


@_convolution.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return x.new_empty(shape).contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("edgedistill::winograd_weight_gradient", mutates_args=())
def _weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    return weight_gradient(x, grad)


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor) -> Tensor:
    return x.new_empty(grad.shape[1], x.shape[1], 3, 3)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    x_grad = weight_grad = None
    if ctx.needs_input_grad[0]:
        x_grad = _convolution(grad, weight.flip(2, 3).transpose(0, 1))
    if ctx.needs_input_grad[1]:
        weight_grad = _weight_gradient(x, grad)
    return x_grad, weight_grad


_convolution.register_autograd(_backward, setup_context=_setup)


class WinogradConv2d(nn.Conv2d):
    """`nn.Conv2d` of 3 x 3 that trains with fewer multiplications where that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        plain = (
            input.device.type != "cpu"
            or input.dtype != torch.float32
            or torch.is_autocast_enabled("cpu")
        )
        if self.training and not plain and _fills(*input.shape[2:]):
            found: Tensor = _convolution(input, self.weight)
            return found
        return super().forward(input)


def _fills(height: int, width: int) -> bool:
    """Whether a map fills the tiles that cover it well enough."""
    return height * width >= FULLEST * TILE**2 * _tiles(height) * _tiles(width)


def use_winograd(module: nn.Module) -> None:
    """Let a network's wide 3 x 3 convolutions train with fewer multiplications, in place.

    Weights and their names stay as they are, and so does what the network computes in `eval()`.
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
        and min(conv.in_channels, conv.out_channels) >= NARROWEST
    )
