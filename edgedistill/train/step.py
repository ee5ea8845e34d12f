"""One update of the student. Nothing in it waits for the device."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from edgedistill.data.mixing import draw_mixing
from edgedistill.data.pixels import normalize
from edgedistill.data.views import ViewBatch, draw_views
from edgedistill.errors import TrainingError
from edgedistill.methods import TeacherOutputs
from edgedistill.methods.base import Mixture, SourceRows, StudentOutput
from edgedistill.methods.functional import (
    UNLABELLED,
    hard_sample_count,
    hard_sample_indices,
)
from edgedistill.train.batches import (
    Batch,
    draw_batch,
    draw_class_balanced_batch,
    draw_unlabelled_batch,
    mixing_generator,
)
from edgedistill.train.context import TrainContext
from edgedistill.train.device import autocast, to_device
from edgedistill.train.distributed import ProcessGroup
from edgedistill.train.optim import apply_lr_factor, lr_factor

# The student as it is trained: itself, compiled, or one of several processes' copies.
Forward = Callable[[Tensor], StudentOutput]


def batch_of(context: TrainContext, step: int) -> Batch:
    """The global batch of a step: images with a label, then those without."""
    settings, unlabelled = context.settings, context.images.unlabelled
    draw = (
        partial(draw_class_balanced_batch, context.images.classes)
        if settings.balance == "class"
        else partial(draw_batch, context.images.domains)
    )
    batch = draw(
        seed=context.seed,
        step=step,
        per_domain=settings.batch_per_domain,
        views=context.views,
        replacement=settings.replacement,
    )
    if not len(unlabelled):
        return batch
    return batch.joined(
        draw_unlabelled_batch(
            unlabelled,
            seed=context.seed,
            step=step,
            count=settings.unlabelled_per_step,
            views=context.views,
            replacement=settings.replacement,
        )
    )


def train_step(
    context: TrainContext,
    forward: Forward,
    optimizers: list[Optimizer],
    scaler: torch.amp.GradScaler,
    step: int,
) -> dict[str, Tensor]:
    """Train on the batch of a step and return its losses.

    The batch, its views and torch's own draws depend on (seed, step) alone. Raises TrainingError
    for a step of fewer images than processes.
    """
    settings, student, method, processes = (
        context.settings,
        context.student,
        context.method,
        context.processes,
    )
    _seed(context, step)
    share = method.keep_fraction(step, settings.steps)
    batch = batch_of(context, step)
    labelled = len(batch) - (settings.unlabelled_per_step if len(context.images.unlabelled) else 0)
    count = len(batch)
    if share is not None:
        count += hard_sample_count(labelled, share) - labelled
    if count < processes.size:
        raise TrainingError(
            f"train.batch_per_domain: a step trains on {count} images, too few for "
            f"{processes.size} processes; raise it"
        )
    own = batch.part(processes.shard(len(batch)))
    views = view_batch(context, own)
    x = _input(context, views)
    mixture = None
    if share is None:
        domains = context.images.domain_of[batch.positions]
        mixture = method.mix(domains, mixing_generator(context.seed, step))
        if mixture is not None:
            x = _mixed(context, x, batch, mixture)
    labels = to_device(context.images.labels[batch.positions], context.device)
    hard_rows = None
    if share is not None:
        student.eval()
        with torch.no_grad(), autocast(context.device, context.dtype):
            logits = forward_alone(forward)(x).logits.float()
        student.train()
        own_labels = labels[processes.shard(len(batch))]
        ranked = F.cross_entropy(logits, own_labels, reduction="none", ignore_index=UNLABELLED)
        hard_rows = hard_sample_indices(processes.gather(ranked, len(batch))[:labelled], share)
        if labelled < len(batch):
            # Images without a label cannot be ranked: all of them stay.
            unranked = torch.arange(labelled, len(batch), device=context.device)
            hard_rows = torch.cat([hard_rows, unranked])
        labels = labels[hard_rows]
        if processes.size == 1:
            x = x[hard_rows]
        else:
            # Only the host can read the images of rows that another process ranked.
            batch = batch.part(hard_rows.cpu().numpy())
            own, hard_rows = batch.part(processes.shard(len(batch))), None
            views = view_batch(context, own)
            x = _input(context, views)
    teacher_outputs = None
    if context.teacher_fn is not None and context.text is not None:
        embeddings = context.teacher_fn(own, views, hard_rows)
        teacher_outputs = TeacherOutputs(
            processes.gather(embeddings, count), context.text, context.reliability
        )
    try:
        with autocast(context.device, context.dtype):
            out = forward(x)
    except ValueError as error:
        if len(x) > 1:
            raise
        raise TrainingError(
            "train.batch_per_domain: a step trains on a single image, too little for batch norm; "
            "raise it"
        ) from error
    losses = method.losses(
        student.head,
        _gathered(processes, out, count),
        labels,
        teacher_outputs,
        _source_rows(context, batch, hard_rows, mixture) if method.uses_domains else None,
    )
    factor = lr_factor(
        step,
        settings.steps,
        settings.schedule,
        warmup_steps=settings.warmup_steps,
        double_last_decay=settings.double_last_decay,
        epoch_steps=settings.eval_every if settings.decay_after_epochs else None,
        decays=len(optimizers) if settings.decay_per_optimizer else 1,
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


def _seed(context: TrainContext, step: int) -> None:
    seed = (context.seed << 32) + step
    # An odd factor: every process draws numbers of its own, and none is another step's.
    torch.manual_seed((seed + context.processes.rank * 0x9E3779B97F4A7C15) % 2**64)


def view_batch(context: TrainContext, batch: Batch) -> ViewBatch:
    """The stored images of a batch and the views to cut from them, on the training device."""
    images = context.images.images
    paths = (images.paths[row] for row in images.rows[batch.positions])
    parameters = draw_views(context.spec, paths, batch.views)
    pixels = images[batch.positions]
    send = partial(to_device, device=context.device)
    mixing = draw_mixing(context.spec, images, batch.positions, batch.views, send)
    return ViewBatch(send(pixels), send(parameters), mixing)


def _input(context: TrainContext, views: ViewBatch) -> Tensor:
    x = normalize(views.render(context.size), context.student.mean, context.student.std)
    if context.settings.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return x


def _mixed(context: TrainContext, x: Tensor, batch: Batch, mixture: Mixture) -> Tensor:
    """This process's inputs, each mixed with its partner's."""
    own = context.processes.shard(len(batch))
    if context.processes.size == 1:
        others = x[to_device(mixture.partners, context.device)]
    else:
        # A partner may be among another process's rows.
        others = _input(context, view_batch(context, batch.part(mixture.partners[own])))
    shares = to_device(mixture.shares[own], context.device)[:, None, None, None]
    mixed = shares * x + (1 - shares) * others
    if context.settings.channels_last:
        mixed = mixed.contiguous(memory_format=torch.channels_last)
    return mixed


def _source_rows(
    context: TrainContext, batch: Batch, hard_rows: Tensor | None, mixture: Mixture | None
) -> SourceRows:
    """Of the rows that the losses are of."""
    images, device = context.images, context.device
    domains = to_device(images.domain_of[batch.positions], device)
    rows = SourceRows(domains if hard_rows is None else domains[hard_rows], len(images.domains))
    if mixture is None:
        return rows
    return rows._replace(
        partners=to_device(mixture.partners, device), shares=to_device(mixture.shares, device)
    )


def _gathered(processes: ProcessGroup, out: StudentOutput, count: int) -> StudentOutput:
    if processes.size == 1:
        return out
    # What the losses are computed in; half precision would be rounded again on the way.
    features, logits, projected = (
        None if part is None else processes.gather(part.float(), count) for part in out
    )
    assert features is not None and logits is not None
    return StudentOutput(features, logits, projected)


def _finite_gradients(optimizer: Optimizer) -> bool:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return all(bool(p.grad.isfinite().all()) for p in parameters if p.grad is not None)
