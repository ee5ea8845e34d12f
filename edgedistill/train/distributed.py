"""Several processes that train one student together, as torchrun starts them.

Every process draws the same global batch and computes its share of it. What a loss is made of is
gathered, so that each process computes the loss of the global batch; DistributedDataParallel then
averages the gradients. A process's own rows get their gradient times the number of processes: the
average of the shares is then the gradient of the global batch, and gradients that do not come
through rows (a loss on the weights themselves) are the same everywhere and stay so.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.rendezvous import rendezvous

from edgedistill.errors import EdgeDistillError, Interrupted, TrainingError
from edgedistill.train.synced_norm import synchronize_cpu_norms

# A dead process is noticed by its closed connection. The others may wait long for one that
# decodes a large dataset.
_TIMEOUT = timedelta(days=7)
_REPORTED = "edgedistill/reported"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a run; the default is a single one.

    Attributes:
        rank: number of this process; 0 writes the run folder and talks to the user.
        size: how many there are.
        local_rank: number of this process on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def shard(self, count: int) -> slice:
        """The rows of a global batch that are this process's; shares differ by one row at most."""
        return slice(*(count * rank // self.size for rank in (self.rank, self.rank + 1)))

    def gather(self, rows: Tensor, count: int) -> Tensor:
        """The rows of all processes, `[count, ...]`, of this one's share; differentiable."""
        if self.size == 1:
            return rows
        gathered: Tensor = _Gather.apply(rows, self, count)
        return gathered

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        number = torch.tensor(int(flag))
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return bool(number)

    def broadcast(self, number: int) -> int:
        """A number of process 0, in every process."""
        if self.size == 1:
            return number
        value = torch.tensor(number)
        dist.broadcast(value, 0)
        return int(value)

    def broadcast_tensor(self, tensor: Tensor) -> Tensor:
        """A tensor of process 0, in every process; all give one of its shape, dtype and device."""
        if self.size == 1:
            return tensor
        value = tensor.clone()
        dist.broadcast(value, 0)
        return value

    def wrap(self, student: nn.Module, device: torch.device) -> nn.Module:
        """The student, its gradients averaged and its batch statistics taken over all processes.

        Batch norm is changed in place; weights and their names stay as they are.
        """
        if self.size == 1:
            return student
        if device.type == "cpu":
            synchronize_cpu_norms(student)
        else:
            from timm.layers import convert_sync_batchnorm

            # Torch's own conversion would leave the activations of timm's norms out.
            convert_sync_batchnorm(student)
        where = None if device.type == "cpu" else [device.index]
        return nn.parallel.DistributedDataParallel(student, device_ids=where)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: ProcessGroup, count: int) -> Tensor:
        ctx.processes, ctx.count = processes, count
        bounds = [count * rank // processes.size for rank in range(processes.size + 1)]
        sizes = [end - start for start, end in pairwise(bounds)]
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[ctx.processes.shard(ctx.count)] * ctx.processes.size, None, None


@contextmanager
def init_distributed() -> Iterator[ProcessGroup]:
    """Meet the other processes that torchrun started; a process started alone is its own world.

    An error or a signal in one process ends all; one of them says why.

    Raises:
        TrainingError: another process ended without a word.
        SystemExit: another process has said why all end.
    """
    environment = os.environ
    if int(environment.get("WORLD_SIZE", "1")) == 1 or "RANK" not in environment:
        yield ProcessGroup()
        return
    store, rank, size = next(rendezvous("env://"))
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        processes = ProcessGroup(rank, size, int(environment.get("LOCAL_RANK", rank)))
        yield processes
        # They leave together: the first has work of its own left, and a group is closed by all.
        processes.any_rank(False)
    except (EdgeDistillError, Interrupted, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _lost_another(error):
            raise
        if not _first_to_report(store):
            raise SystemExit(130 if isinstance(error, Interrupted) else 2) from None
        if isinstance(error, RuntimeError):
            raise TrainingError(
                f"process {rank} of {size}: another process of this run ended without a word; "
                "start them again to go on from the last checkpoint"
            ) from error
        raise
    dist.destroy_process_group()


def _lost_another(error: RuntimeError) -> bool:
    # Gloo raises plain RuntimeErrors; only their text says that a connection was lost.
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "connection" in text


def _first_to_report(store: dist.Store) -> bool:
    try:
        return bool(store.add(_REPORTED, 1) == 1)
    except RuntimeError:  # It went with process 0, which has its own say.
        return False
