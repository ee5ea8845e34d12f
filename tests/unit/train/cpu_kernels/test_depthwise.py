"""The faster depthwise weight gradient is the ordinary one."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgedistill.students import build_backbone
from edgedistill.train.cpu_kernels.depthwise import (
    DepthwiseConv2d,
    use_fast_depthwise,
    weight_gradient,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_weight_gradient(
    batch: int,
    channels: int,
    height: int,
    width: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    if height + 2 * padding[0] < kernel[0] or width + 2 * padding[1] < kernel[1]:
        return
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(channels, 1, *kernel, generator=generator, dtype=torch.float64)
    weight.requires_grad_()
    out = F.conv2d(x, weight, None, stride, padding, 1, channels)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(out, weight, grad)
    torch.testing.assert_close(weight_gradient(x, grad, kernel, stride, padding), expected)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_student_gets_the_same_gradients(name: str, memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    plain, _ = build_backbone(name)
    # Stochastic depth would draw other paths for each of the two.
    plain.train().to(memory_format=memory_format)
    for module in plain.modules():
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
    fast = copy.deepcopy(plain)
    use_fast_depthwise(fast)
    assert any(isinstance(m, DepthwiseConv2d) for m in fast.modules())
    assert list(fast.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, 64, 64).to(memory_format=memory_format)
    for net in (plain, fast):
        net(x).square().mean().backward()
    for (key, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        scale = float(p.grad.abs().max()) if p.grad is not None else 0
        torch.testing.assert_close(q.grad, p.grad, atol=1e-4 * scale, rtol=1e-3, msg=key)


def test_networks_without_large_depthwise_kernels_stay() -> None:
    net, _ = build_backbone("resnet18")
    use_fast_depthwise(net)
    assert not any(isinstance(m, DepthwiseConv2d) for m in net.modules())


def test_other_convolutions_stay() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 5, groups=4, bias=True),
        nn.Conv2d(4, 4, 5, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 4, 5, groups=4, bias=False, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 5, groups=2, bias=False),
    )
    use_fast_depthwise(net)
    assert not any(isinstance(m, DepthwiseConv2d) for m in net)


def test_no_second_derivative() -> None:
    conv = nn.Conv2d(2, 2, 5, groups=2, padding=2, bias=False)
    use_fast_depthwise(nn.Sequential(conv))
    out = conv(torch.randn(1, 2, 3, 3)).square().sum()
    (grad,) = torch.autograd.grad(out, conv.weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
