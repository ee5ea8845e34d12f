"""Batch norm over the rows of all processes, on a CPU, where torch's SyncBatchNorm does not run."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from edgedistill.errors import TrainingError


def synchronize_cpu_norms(module: nn.Module) -> None:
    """Let a network's batch norms take their statistics over all processes, in place.

    Raises TrainingError for a kind of batch norm that would go on without the other processes.
    """
    # Loaded already where a network has timm's layers.
    from timm.layers import BatchNormAct2d

    for name, child in module.named_modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = SyncedBatchNorm2d
        elif type(child) is BatchNormAct2d:
            child.__class__ = SyncedBatchNormAct2d  # type: ignore[assignment]
        elif isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm2d):
            raise TrainingError(
                f"student: {type(child).__name__} in {name!r} takes no statistics over several "
                "processes on a CPU; train in one process"
            )


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that trains on the statistics of every process's rows together."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        mean, variance, count = _statistics(input.detach().float())
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            share = self.momentum
            if share is None:
                share = 1.0 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * (count / max(1.0, count - 1)), share)
        normed: Tensor = _Normed.apply(
            input, self.weight, self.bias, mean, variance, count, self.eps
        )
        return normed


class SyncedBatchNormAct2d(SyncedBatchNorm2d):
    """timm's `BatchNormAct2d`, a batch norm with dropout and activation, in the same way."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean and biased variance `[C]` of the rows of all processes, and how many values each is of.

    Means and variances are joined, not sums of squares, which would cancel.
    """
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    own = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    stacked = torch.stack(parts)
    counts, (means, variances) = stacked[:, -1:], stacked[:, :-1].chunk(2, 1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, variance, float(total)


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: float,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.count = count
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        unit = (x.float() - mean[:, None, None]) * scale[:, None, None]
        grad32 = grad.float()
        sums = torch.stack([grad32.sum((0, 2, 3)), (grad32 * unit).sum((0, 2, 3))])
        # The parameters' gradients are of the own rows, as everywhere else.
        bias_grad, weight_grad = sums.clone()
        dist.all_reduce(sums)
        plain, along = sums[:, :, None, None] / ctx.count
        x_grad = (grad32 - plain - unit * along) * (weight * scale)[:, None, None]
        return x_grad.to(grad.dtype), weight_grad, bias_grad, None, None, None, None
