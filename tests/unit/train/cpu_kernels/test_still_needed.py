"""Comparison of these kernels with torch's own convolutions in a training step.

A failure is good news: with this release of torch the kernel it names can go. No result of the
suite may hang on the time of a busy machine, so these run when asked for:

    EDGEDISTILL_TIMES=1 pytest -m slow tests/unit/train/cpu_kernels/test_still_needed.py
"""

import os
import time
from statistics import median

import pytest
import torch
from torch import Tensor, nn

from edgedistill.train.cpu_kernels.depthwise import DepthwiseConv2d, use_fast_depthwise
from edgedistill.train.cpu_kernels.winograd import WinogradConv2d, use_winograd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EDGEDISTILL_TIMES" not in os.environ, reason="compares times"),
]

ROUNDS = 15


def times_faster(plain: nn.Module, fast: nn.Module, x: Tensor) -> float:
    """CPU time of a step with `plain` over that with `fast`, medians of interleaved rounds."""
    seconds: dict[nn.Module, list[float]] = {plain: [], fast: []}
    for number in range(ROUNDS + 2):
        for net in (plain, fast) if number % 2 else (fast, plain):
            net.zero_grad()
            start = time.process_time()
            net(x).sum().backward()
            if number >= 2:
                seconds[net].append(time.process_time() - start)
    return median(seconds[plain]) / median(seconds[fast])


def test_the_depthwise_weight_gradient() -> None:
    nets = [
        nn.Sequential(nn.Conv2d(480, 480, 5, padding=2, groups=480, bias=False)) for _ in range(2)
    ]
    use_fast_depthwise(nets[1])
    assert isinstance(nets[1][0], DepthwiseConv2d)
    x = torch.randn(32, 480, 2, 2).contiguous(memory_format=torch.channels_last)
    assert times_faster(nets[0], nets[1], x) > 1.5


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX2",
    reason="pays on CPUs with AVX2 alone; others gain little",
)
def test_winograd() -> None:
    nets = [nn.Sequential(nn.Conv2d(256, 256, 3, padding=1, bias=False)) for _ in range(2)]
    use_winograd(nets[1])
    assert isinstance(nets[1][0], WinogradConv2d)
    x = torch.randn(32, 256, 12, 12).contiguous(memory_format=torch.channels_last)
    assert times_faster(nets[0], nets[1], x.requires_grad_()) > 1.1
