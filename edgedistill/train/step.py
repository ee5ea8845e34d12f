"""One update of the student. Nothing in it waits for the device."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from edgedistill.data.views import image_key, view_parameters
from edgedistill.errors import EdgeDistillError
from edgedistill.methods import Teaching
from edgedistill.methods.base import StudentOutput
from edgedistill.methods.functional import hard_sample_count, hard_sample_indices
from edgedistill.train.batches import Batch, draw_batch
from edgedistill.train.device import autocast, to_device
from edgedistill.train.distributed import World
from edgedistill.train.optim import apply_lr_factor, lr_factor
from edgedistill.train.predict import normalise
from edgedistill.train.task import Stored, Task

# The student as it is trained: itself, compiled, or one of several processes' copies.
Forward = Callable[[Tensor], StudentOutput]


def batch_of(task: Task, step: int) -> Batch:
    """The global batch of a step."""
    return draw_batch(
        task.images,
        seed=task.seed,
        step=step,
        per_domain=task.settings.batch_per_domain,
        views=task.views,
        replacement=task.settings.replacement,
    )


def update(
    task: Task,
    forward: Forward,
    optimizers: list[Optimizer],
    scaler: torch.amp.GradScaler,
    step: int,
) -> dict[str, Tensor]:
    """Train on the batch of a step and return its losses.

    The batch, its views and torch's own draws depend on (seed, step) alone.
    """
    settings, student, method, world = task.settings, task.student, task.method, task.world
    _seed(task, step)
    share = method.keep_fraction(step, settings.steps)
    batch = batch_of(task, step)
    count = len(batch) if share is None else hard_sample_count(len(batch), share)
    if count < world.size:
        raise EdgeDistillError(
            f"train.batch_per_domain: a step trains on {count} images, too few for {world.size} "
            "processes; raise it"
        )
    own = batch.part(world.share(len(batch)))
    stored = stored_images(task, own)
    x = _input(task, stored)
    labels = to_device(task.images.labels[batch.positions], task.device)
    kept = None
    if share is not None:
        student.eval()
        with torch.no_grad(), autocast(task.device, task.dtype):
            logits = forward_alone(forward)(x).logits.float()
        student.train()
        ranked = F.cross_entropy(logits, labels[world.share(len(batch))], reduction="none")
        kept = hard_sample_indices(world.gather(ranked, len(batch)), share)
        labels = labels[kept]
        if world.size == 1:
            x = x[kept]
        else:
            # Only the host can read the images of rows that another process ranked.
            batch = batch.part(kept.cpu().numpy())
            own, kept = batch.part(world.share(len(batch))), None
            stored = stored_images(task, own)
            x = _input(task, stored)
    teaching = None
    if task.teach is not None and task.text is not None:
        taught = task.teach(own, stored, kept)
        teaching = Teaching(world.gather(taught, count), task.text)
    try:
        with autocast(task.device, task.dtype):
            out = forward(x)
    except ValueError as error:
        if len(x) > 1:
            raise
        raise EdgeDistillError(
            "train.batch_per_domain: a step trains on a single image, too little for batch norm; "
            "raise it"
        ) from error
    losses = method.losses(student.head, _gathered(world, out, count), labels, teaching)
    factor = lr_factor(
        step,
        settings.steps,
        settings.schedule,
        warmup_steps=settings.warmup_steps,
        double_last_decay=settings.double_last_decay,
    )
    apply_lr_factor(optimizers, factor)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    scaler.scale(losses["loss"]).backward()
    first, *others = optimizers
    scaler.unscale_(first)
    # The optimisers share their gradients, and the scaler would unscale them once for each.
    usable = not others or not scaler.is_enabled() or _finite_gradients(first)
    scaler.step(first)
    for optimizer in others if usable else ():
        optimizer.step()
    scaler.update()
    method.after_step(student.head)
    return {name: value.detach() for name, value in losses.items()}


def forward_alone(forward: Forward) -> Forward:
    """The forward pass without what joins it to other processes' gradients."""
    if isinstance(forward, torch.nn.parallel.DistributedDataParallel):
        inner: Forward = forward.module
        return inner
    return forward


def _seed(task: Task, step: int) -> None:
    seed = (task.seed << 32) + step
    # An odd factor: every process draws numbers of its own, and none is another step's.
    torch.manual_seed((seed + task.world.rank * 0x9E3779B97F4A7C15) % 2**64)


def stored_images(task: Task, batch: Batch) -> Stored:
    """The stored images of a batch and the views to cut from them, on the training device."""
    images = task.images
    rows = images.rows[batch.positions]
    keys = np.array([image_key(images.paths[r]) for r in rows], dtype=np.uint64)
    parameters = view_parameters(task.spec, keys, batch.views)
    pixels = images.pixels[batch.positions]
    return Stored(to_device(pixels, task.device), to_device(parameters, task.device))


def _input(task: Task, stored: Stored) -> Tensor:
    x = normalise(stored.views(task.size))
    if task.settings.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x


def _gathered(world: World, out: StudentOutput, count: int) -> StudentOutput:
    if world.size == 1:
        return out
    # What the losses are computed in; half precision would be rounded again on the way.
    features, logits, projected = (
        None if part is None else world.gather(part.float(), count) for part in out
    )
    assert features is not None and logits is not None
    return StudentOutput(features, logits, projected)


def _finite_gradients(optimizer: Optimizer) -> bool:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return all(bool(p.grad.isfinite().all()) for p in parameters if p.grad is not None)
