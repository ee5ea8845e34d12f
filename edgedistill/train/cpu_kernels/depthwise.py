"""Weight gradient of depthwise convolutions on small maps, on a CPU.

oneDNN's kernel for it takes up to a hundred times as long as the forward pass where the map is no
larger than the 5 x 5 kernel, as in the last stages of MobileNetV3 and EfficientNet at 64 px; one
product and one sum per kernel position take a fraction of that. The sums are the same up to the
order of their terms. No issue of torch or oneDNN is about just this; slow depthwise convolutions on
CPUs are pytorch/pytorch#13716, which is open. `benchmarks/speed/results/student.json` records a
whole step of MobileNetV3-Small at 96 px: 1.41 times as fast as torch's defaults with channels_last
alone, 1.89 times with this too. `tests/unit/train/cpu_kernels/test_still_needed.py` says when this
module can go.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _DepthwiseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = torch.ops.aten.convolution_backward(
                grad, x, weight, None, ctx.stride, ctx.padding, (1, 1), False, (0, 0),
                x.shape[1], (True, False, False),
            )[0]  # fmt: skip
        if ctx.needs_input_grad[1]:
            weight_grad = weight_gradient(x, grad, weight.shape[-2:], ctx.stride, ctx.padding)
        return x_grad, weight_grad, None, None


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Gradient of a depthwise convolution's weight.

    Args:
        x: `[B, C, H, W]`, the input.
        grad: `[B, C, h, w]`, the gradient of the output.
        kernel, stride, padding: of the convolution, rows and columns.

    Returns:
        `[C, 1, *kernel]`, of the dtype of `x`.
    """
    pixels, grads = x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1)
    result = x.new_zeros(*kernel, x.shape[1])
    for i in range(kernel[0]):
        top, rows = _overlap(i, x.shape[2], grad.shape[2], stride[0], padding[0])
        for j in range(kernel[1]):
            left, columns = _overlap(j, x.shape[3], grad.shape[3], stride[1], padding[1])
            if rows.start < rows.stop and columns.start < columns.stop:
                inputs = pixels[:, top, left]
                result[i, j] = torch.sum(inputs * grads[:, rows, columns], (0, 1, 2))
    return result.permute(2, 0, 1).unsqueeze(1)


def _overlap(
    offset: int, size: int, out_size: int, stride: int, padding: int
) -> tuple[slice, slice]:
    """Inputs inside the map that one kernel position is multiplied with, and their outputs."""
    first = max(0, -((offset - padding) // stride))
    last = min(out_size, (size - 1 - offset + padding) // stride + 1)
    start = first * stride + offset - padding
    return slice(start, start + (last - first - 1) * stride + 1, stride), slice(first, last)


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one group per channel and the faster weight gradient where it is faster."""

    def forward(self, input: Tensor) -> Tensor:
        return depthwise(self, input)


def depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A depthwise convolution's output for float32 `[B, C, H, W]`."""
    small = min(x.shape[2:]) <= max(conv.kernel_size)
    float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if small and x.device.type == "cpu" and float32 and torch.is_grad_enabled():
        output: Tensor = _DepthwiseConvolution.apply(x, conv.weight, conv.stride, conv.padding)
        return output
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups)


def use_fast_depthwise(module: nn.Module) -> None:
    """Give a network's plain depthwise convolutions the faster weight gradient, in place.

    Those of 3 x 3 stay as they are, since oneDNN is fast there. So do weights and their names.
    """
    for child in module.modules():
        if type(child) is nn.Conv2d and _eligible(child):
            child.__class__ = DepthwiseConv2d


def _eligible(conv: nn.Conv2d) -> bool:
    return (
        conv.groups == conv.in_channels == conv.out_channels
        and min(conv.kernel_size) > 3
        and conv.dilation == (1, 1)
        and conv.bias is None
        and not isinstance(conv.padding, str)
        and conv.padding_mode == "zeros"
    )
