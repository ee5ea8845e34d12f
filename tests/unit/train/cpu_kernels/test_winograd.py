"""Convolutions with fewer multiplications are the ordinary ones, up to rounding."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import library, nn

from edgedistill.students import build_backbone
from edgedistill.train.cpu_kernels import winograd
from edgedistill.train.cpu_kernels.winograd import (
    WinogradConv2d,
    best_tile,
    convolve,
    use_winograd,
    weight_gradient,
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    batch=st.integers(0, 20),
    channels=st.integers(1, 5),
    wide=st.integers(1, 5),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    tile=st.sampled_from([3, 4]),
    last=st.booleans(),
)
def test_output_and_gradients(
    batch: int,
    channels: int,
    wide: int,
    height: int,
    width: int,
    tile: int,
    last: bool,
) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format

    def draw(*shape: int) -> torch.Tensor:
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        return drawn.contiguous(memory_format=layout).requires_grad_()

    x, weight = draw(batch, channels, height, width), draw(wide, channels, 3, 3)
    grad = draw(batch, wide, height, width).detach()
    out = F.conv2d(x, weight, padding=1)
    expected = torch.autograd.grad(out, (x, weight), grad)
    torch.testing.assert_close(convolve(x, weight, tile), out)
    torch.testing.assert_close(weight_gradient(x, grad, tile), expected[1])
    through = torch.autograd.grad(winograd._convolution(x, weight, tile), (x, weight), grad)
    torch.testing.assert_close(through, expected)


@pytest.mark.parametrize("tile", [3, 4])
def test_float32_error_is_small_beside_the_result(tile: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 256, 14, 14), torch.randn(256, 256, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error = (convolve(x, weight, tile).double() - exact).abs().max() / exact.std()
    assert error < 2e-4


@pytest.mark.parametrize(
    ("side", "tile"), [(56, 4), (14, 4), (12, 4), (7, 4), (6, 3), (3, 3), (5, None), (2, None)]
)
def test_tiles_that_fit_a_map(side: int, tile: int | None) -> None:
    assert best_tile(side, side) == tile


def test_operators_keep_what_torch_asks_of_them() -> None:
    x = torch.randn(2, 3, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    library.opcheck(winograd._convolution, (x, weight, 4))
    library.opcheck(winograd._weight_gradient, (x.detach(), torch.randn(2, 4, 5, 7), 3))


def test_a_student_gets_the_same_gradients() -> None:
    torch.manual_seed(0)
    plain, _ = build_backbone("resnet18")
    plain.train().to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    use_winograd(fast)
    # Strides and other kernels keep the direct sum.
    assert sum(isinstance(m, WinogradConv2d) for m in fast.modules()) == 13
    assert list(fast.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    # Batch norm makes the sum of squares nearly constant: a fixed direction is a better loss.
    direction = torch.randn(512)
    for net in (plain, fast):
        (net(x) @ direction).mean().backward()
    differ = False
    for (key, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None
        # A share e of changed signs before a ReLU moves gradients by the root of e.
        assert (q.grad - p.grad).norm() < 0.05 * p.grad.norm(), key
        differ |= not torch.equal(p.grad, q.grad)
    assert differ, "the fast convolutions were not taken"


def test_outside_training_nothing_changes() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 128, 3, padding=1, bias=False)
    fast = copy.deepcopy(conv)
    use_winograd(nn.Sequential(fast))
    x = torch.randn(2, 128, 8, 8)
    assert not torch.equal(fast(x), conv(x))
    fast.eval()
    assert torch.equal(fast(x), conv(x))
    fast.train()
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16
    sparse = torch.randn(2, 128, 5, 5)
    assert torch.equal(fast(sparse), conv(sparse))


def test_narrow_convolutions_keep_the_direct_output() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, 3, padding=1, bias=False)
    fast = copy.deepcopy(conv)
    use_winograd(nn.Sequential(fast))
    x = torch.randn(2, 64, 8, 8)
    out = conv(x)
    torch.testing.assert_close(fast(x), out, rtol=0, atol=1e-6)
    grad = torch.randn_like(out)
    expected = torch.autograd.grad(out, conv.weight, grad)[0]
    gradient = torch.autograd.grad(fast(x), fast.weight, grad)[0]
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-3)
    assert not torch.equal(gradient, expected)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(63, 128, 3, padding=1, bias=False),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.Conv2d(128, 128, 3, padding=0, bias=False),
        nn.Conv2d(128, 128, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(128, 128, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(128, 128, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(128, 128, 5, padding=1, bias=False),
    ],
)
def test_other_convolutions_stay(conv: nn.Conv2d) -> None:
    use_winograd(nn.Sequential(conv))
    assert type(conv) is nn.Conv2d
