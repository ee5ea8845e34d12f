"""The training loop of every method. It knows no method by name."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from edgedistill.atomic import write_text
from edgedistill.data.views import ViewSpec, image_key, render_views, view_parameters
from edgedistill.errors import EdgeDistillError
from edgedistill.methods import Method, Teaching
from edgedistill.methods.functional import hard_sample_indices
from edgedistill.openset import Outputs
from edgedistill.openset.metrics import closed_set_accuracy
from edgedistill.recipe.schema import TrainSection
from edgedistill.students import Student
from edgedistill.teacher.text import TextBank
from edgedistill.train.averaging import WeightAverage
from edgedistill.train.batches import Batch, TrainImages, draw_batch
from edgedistill.train.checkpoint import load_checkpoint, save_checkpoint
from edgedistill.train.device import autocast, autocast_dtype
from edgedistill.train.optim import apply_lr_factor, build_optimizers, lr_factor
from edgedistill.train.predict import normalise, predict

# The teacher's embeddings of the views of a batch: unit-norm float32 [B, D] on the device.
Teach = Callable[[Batch], Tensor]
History = list[dict[str, float]]
# Image paths that an error line names.
_SHOWN = 12


class Stopped(Exception):
    """Ctrl-C or a termination signal: the run is saved and resumes where it stopped."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped at step {step} of {total}")


@dataclass(frozen=True)
class Progress:
    """What a display shows: `rate` in images per second, `terms` means since a validation."""

    step: int
    total: int
    rate: float
    terms: dict[str, float]
    val_accuracy: float | None


@dataclass(frozen=True)
class Task:
    """Everything a run trains with.

    Attributes:
        teach: looks up or computes the teacher's embeddings; None if the method needs none.
        text: class texts on the device, None likewise.
        validation: uint8 `[M, S, S, 3]` or float32 `[M, 3, S, S]` in 0..1, at the student's size.
        size: the student's input side in pixels.
        views: cached views per image, 0 for endless.
    """

    student: Student
    method: Method[Any, Any]
    images: TrainImages
    spec: ViewSpec
    views: int
    teach: Teach | None
    text: TextBank | None
    validation: NDArray[np.uint8] | Tensor
    validation_labels: NDArray[np.int64]
    validation_domains: NDArray[np.int64]
    size: int
    settings: TrainSection
    seed: int
    device: torch.device


@dataclass
class _State:
    """What a checkpoint holds beside the student; `sums` are loss terms since a validation."""

    optimizers: list[Optimizer]
    average: WeightAverage | None
    scaler: torch.amp.GradScaler
    step: int = 0
    seconds: float = 0.0
    best_accuracy: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    since: int = 0

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.since for name, total in self.sums.items()}


def fit(
    task: Task,
    checkpoint: Path,
    report: Callable[[Progress], None],
    log: Callable[[History], None],
) -> tuple[History, float]:
    """Train, or go on training, and leave the selected weights in `task.student`.

    The weights selected are those of the best source-validation accuracy (mean over the source
    domains), of ties the latest;
    averaged ones if the recipe averages. `report` hears of progress, `log` of the whole history
    after every validation.

    Returns:
        One row per validation (step, lr, loss terms, val_accuracy), and the seconds spent,
        earlier parts of a resumed run counted in.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, with the checkpoint written.
        EdgeDistillError: a loss is not finite, or the checkpoint does not fit.
    """
    state = _fresh(task)
    saved = load_checkpoint(checkpoint)
    if saved is not None:
        _restore(task, state, saved, checkpoint)
    evaluated = deepcopy(task.student) if state.average else task.student
    settings, total = task.settings, task.settings.steps
    begun = time.perf_counter() - state.seconds
    task.student.train()
    # A loss is looked at where that costs nothing, else where the progress line looks anyway.
    images = len(task.images.domains) * settings.batch_per_domain
    look_every = 1 if task.device.type == "cpu" else 10
    with _stop_requests() as stopping:
        while state.step < total:
            for name, value in _step(task, state).items():
                state.sums[name] = state.sums.get(name, torch.zeros_like(value)) + value
            state.since += 1
            state.step += 1
            validate = state.step % settings.eval_every == 0 or state.step == total
            if validate or state.step % look_every == 0:
                means = state.means()
                if not math.isfinite(means["loss"]):
                    first = state.step - min(look_every, state.since)
                    raise _diverged(task, first, state.step, "the loss is", checkpoint.parent)
                accuracy = None
                if validate:
                    _check_weights(task, state, checkpoint.parent)
                    try:
                        accuracy = _validate(task, state, evaluated, means)
                    except EdgeDistillError:  # An output is not finite.
                        raise _diverged(
                            task, state.step - 1, state.step, "outputs are", checkpoint.parent
                        ) from None
                    log(state.history)
                rate = images * state.step / (time.perf_counter() - begun)
                report(Progress(state.step, total, rate, means, accuracy))
            state.seconds = time.perf_counter() - begun
            # One look at the flag: a stop asked for while saving waits for the next step.
            stop = stopping()
            if validate or state.step % settings.checkpoint_every == 0 or stop:
                _check_weights(task, state, checkpoint.parent)
                save_checkpoint(checkpoint, _snapshot(task, state))
            if stop:
                raise Stopped(state.step, total)
        if stopping():
            raise Stopped(state.step, total)
    task.student.load_state_dict(state.best)
    return state.history, state.seconds


def _fresh(task: Task) -> _State:
    settings = task.settings
    optimizers = build_optimizers(
        task.method.param_groups(task.student.backbone, task.student.head),
        settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        count=task.method.optimizers,
    )
    average = None
    if settings.average != "none":
        average = WeightAverage(
            task.student,
            settings.average,
            decay=settings.ema_decay,
            start=max(1, settings.sma_start),
        )
    half = autocast_dtype(settings.precision, task.device) == torch.float16
    return _State(optimizers, average, torch.amp.GradScaler(task.device.type, enabled=half))


def _step(task: Task, state: _State) -> dict[str, Tensor]:
    """One update; the batch, its views and torch's own draws depend on (seed, step) alone."""
    settings, student, method = task.settings, task.student, task.method
    torch.manual_seed((task.seed << 32) + state.step)
    batch = _batch(task, state.step)
    pixels = _render(task, batch)
    x = normalise(pixels)
    if settings.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(task.images.labels[batch.positions]).to(task.device)
    dtype = autocast_dtype(settings.precision, task.device)
    share = method.keep_fraction(state.step, settings.steps)
    if share is not None:
        student.eval()
        with torch.no_grad(), autocast(task.device, dtype):
            ranked = student(x).logits.float()
        student.train()
        kept = hard_sample_indices(F.cross_entropy(ranked, labels, reduction="none"), share)
        x, labels = x[kept], labels[kept]
        at = kept.cpu().numpy()
        batch = Batch(batch.positions[at], batch.views[at])
    teaching = None
    if task.teach is not None and task.text is not None:
        teaching = Teaching(task.teach(batch), task.text)
    try:
        with autocast(task.device, dtype):
            out = student(x)
    except ValueError as error:
        if len(x) > 1:
            raise
        raise EdgeDistillError(
            "train.batch_per_domain: a step trains on a single image, too little for batch norm; "
            "raise it"
        ) from error
    losses = method.losses(student.head, out, labels, teaching)
    factor = lr_factor(
        state.step,
        settings.steps,
        settings.schedule,
        warmup_steps=settings.warmup_steps,
        double_last_decay=settings.double_last_decay,
    )
    apply_lr_factor(state.optimizers, factor)
    for optimizer in state.optimizers:
        optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(losses["loss"]).backward()
    first, *others = state.optimizers
    state.scaler.unscale_(first)
    # The optimisers share their gradients, and the scaler would unscale them once for each.
    usable = not others or not state.scaler.is_enabled() or _finite_gradients(first)
    state.scaler.step(first)
    for optimizer in others if usable else ():
        optimizer.step()
    state.scaler.update()
    method.after_step(student.head)
    if state.average is not None:
        state.average.update(student)
    return {name: value.detach() for name, value in losses.items()}


def _finite_gradients(optimizer: Optimizer) -> bool:
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return all(bool(p.grad.isfinite().all()) for p in parameters if p.grad is not None)


def _batch(task: Task, step: int) -> Batch:
    return draw_batch(
        task.images,
        seed=task.seed,
        step=step,
        per_domain=task.settings.batch_per_domain,
        views=task.views,
        replacement=task.settings.replacement,
    )


def _render(task: Task, batch: Batch) -> Tensor:
    rows = task.images.rows[batch.positions]
    keys = np.array([image_key(task.images.paths[r]) for r in rows], dtype=np.uint64)
    parameters = torch.from_numpy(view_parameters(task.spec, keys, batch.views)).to(task.device)
    images = torch.from_numpy(task.images.pixels[batch.positions]).to(task.device)
    return render_views(images.permute(0, 3, 1, 2), parameters, task.size)


def _validate(task: Task, state: _State, evaluated: Student, means: dict[str, float]) -> float:
    if state.average is not None:
        state.average.copy_to(evaluated)
    outputs = predict(
        evaluated,
        task.method,
        task.validation,
        task.validation_labels,
        device=task.device,
        channels_last=task.settings.channels_last,
    )
    accuracy = _mean_over_domains(outputs, task.validation_domains)
    if accuracy >= state.best_accuracy:
        state.best_accuracy = accuracy
        state.best = {k: v.detach().clone() for k, v in evaluated.state_dict().items()}
    lr = state.optimizers[0].param_groups[0]["lr"]
    state.history.append({"step": state.step, "lr": lr, **means, "val_accuracy": accuracy})
    state.sums, state.since = {}, 0
    return accuracy


def _check_weights(task: Task, state: _State, folder: Path) -> None:
    """Refuse to save what no step can come back from."""
    tensors = task.student.state_dict().values()
    if not all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point()):
        raise _diverged(task, state.step - 1, state.step, "the weights are", folder)


def _mean_over_domains(outputs: Outputs, domains: NDArray[np.int64]) -> float:
    """Accuracy averaged over source domains, so that none counts for its size."""
    parts = [
        closed_set_accuracy(outputs.predictions[domains == d], outputs.labels[domains == d]) or 0.0
        for d in np.unique(domains)
    ]
    return float(np.mean(parts))


def _diverged(task: Task, first: int, end: int, what: str, folder: Path) -> EdgeDistillError:
    """The one-line error of a loss that is not finite, with the images of the step."""
    names = [
        task.images.paths[row]
        for step in range(first, end)
        for row in task.images.rows[_batch(task, step).positions]
    ]
    where = f"step {end}" if end - first == 1 else f"steps {first + 1} to {end}"
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        listing = folder / "diverged.txt"
        write_text(listing, "\n".join(names) + "\n")
        shown += f" and {len(names) - _SHOWN} more, all in {listing}"
    return EdgeDistillError(
        f"{where}: {what} not finite; lower train.lr and start a run of another name, or look at "
        f"the images of the batch: {shown}"
    )


def _snapshot(task: Task, state: _State) -> dict[str, Any]:
    return {
        "step": state.step,
        "seconds": state.seconds,
        "student": task.student.state_dict(),
        "optimizers": [o.state_dict() for o in state.optimizers],
        "average": dict(state.average.state_dict()) if state.average else None,
        "scaler": state.scaler.state_dict(),
        "best": state.best,
        "best_accuracy": state.best_accuracy,
        "history": state.history,
        "sums": state.sums,
        "since": state.since,
    }


def _restore(task: Task, state: _State, saved: dict[str, Any], path: Path) -> None:
    device = task.device
    try:
        task.student.load_state_dict(saved["student"])
        for optimizer, old in zip(state.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(old)
        if state.average is not None:
            state.average.load_state_dict(saved["average"])
        state.scaler.load_state_dict(saved["scaler"])
        state.step, state.seconds = saved["step"], saved["seconds"]
        state.best = {k: v.to(device) for k, v in saved["best"].items()}
        state.best_accuracy, state.history = saved["best_accuracy"], saved["history"]
        state.sums = {k: v.to(device) for k, v in saved["sums"].items()}
        state.since = saved["since"]
    except (KeyError, IndexError, AttributeError, RuntimeError, ValueError, TypeError):
        raise EdgeDistillError(
            f"{path}: this checkpoint is of another student; delete it to start again"
        ) from None


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a flag; a second one ends the process as usual."""
    asked = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(signum, previous[signum])

    previous: dict[int, Any] = {}
    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        try:
            previous[number] = signal.signal(number, note)
        except ValueError:  # Not the main thread: signals go to whoever runs there.
            break
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
