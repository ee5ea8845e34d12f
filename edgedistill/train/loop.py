"""The training loop of every method. It knows no method by name."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from edgedistill._utils.atomic import write_text
from edgedistill.callbacks import Callback, TrainingStep, Validation
from edgedistill.errors import DivergedError, TrainingError
from edgedistill.students import Student
from edgedistill.train.averaging import WeightAverage
from edgedistill.train.checkpoint import load_checkpoint, save_checkpoint
from edgedistill.train.context import History, Stopped, TrainContext
from edgedistill.train.device import gpu_use
from edgedistill.train.optim import build_optimizers, load_optimizer
from edgedistill.train.step import Forward, batch_of, train_step
from edgedistill.train.stopping import stop_requests
from edgedistill.train.swad import DenseAverage

# Image paths that an error line names.
_SHOWN = 12


@dataclass
class _State:
    """The state of a checkpoint beside the student; `sums` are loss terms since a validation."""

    optimizers: list[Optimizer]
    average: WeightAverage | DenseAverage | None
    scaler: torch.amp.GradScaler
    step: int = 0
    seconds: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    since: int = 0

    def means(self) -> dict[str, float]:
        return {name: float(total) / self.since for name, total in self.sums.items()}


def fit(
    context: TrainContext,
    checkpoint: Path,
    callback: Callback,
    log: Callable[[History], None] = lambda history: None,
) -> tuple[History, float]:
    """Train, or go on training, and leave the selected weights in `context.student`.

    The weights selected are those of the best validation (see `Validator.figure`), of ties the
    recipe's choice; averaged ones if the recipe averages. SWAD's average ships whatever its
    accuracy, and what is validated is the student on its way. Without any step the start weights
    are validated and selected. `callback` hears of steps and validations, `log` of the whole
    history after every validation, both in process 0 only, which also writes the checkpoint.

    Returns:
        One row per validation (step, lr, loss terms, the validator's figures), and the seconds
        spent, earlier parts of a resumed run counted in.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, with the checkpoint written.
        DivergedError: a loss, a weight or an output is not finite.
        TrainingError: the checkpoint does not fit.
    """
    with _compilation(context):
        return _fit(context, checkpoint, callback, log)


def _fit(
    context: TrainContext, checkpoint: Path, callback: Callback, log: Callable[[History], None]
) -> tuple[History, float]:
    state = _fresh(context)
    saved = load_checkpoint(checkpoint)
    if saved is not None:
        _restore(context, state, saved, checkpoint)
    forward = _forward(context)
    _refuse_other_step(context, state, checkpoint)
    averaged = isinstance(state.average, WeightAverage)
    evaluated = deepcopy(context.student) if averaged else context.student
    settings, total = context.settings, context.settings.steps
    first = context.processes.rank == 0
    started_at = time.perf_counter() - state.seconds
    context.student.train()
    # A loss is looked at where that costs nothing, else where the progress line looks anyway.
    images = len(batch_of(context, 0)) if total else 0
    look_every = 1 if context.device.type == "cpu" else 10
    with stop_requests() as stopping:
        if total == 0 and not state.history:
            _validate(context, state, evaluated, {})
            if first:
                log(state.history)
        while state.step < total and not is_stale(_values(context, state), settings.patience):
            losses = train_step(context, forward, state.optimizers, state.scaler, state.step)
            if state.average is not None:
                state.average.update(context.student)
            for name, value in losses.items():
                state.sums[name] = state.sums.get(name, torch.zeros_like(value)) + value
            state.since += 1
            state.step += 1
            validate = state.step % settings.eval_every == 0 or state.step == total
            look = validate or state.step % look_every == 0
            if look:
                means = state.means()
                if not math.isfinite(means["loss"]):
                    since = state.step - min(look_every, state.since)
                    raise _diverged(context, since, state.step, "the loss is", checkpoint.parent)
                if validate:
                    _check_weights(context, state, checkpoint.parent)
                    try:
                        figures = _validate(context, state, evaluated, means)
                    except DivergedError:  # An output is not finite.
                        raise _diverged(
                            context, state.step - 1, state.step, "outputs are", checkpoint.parent
                        ) from None
                    if first:
                        log(state.history)
                        callback.on_validation(
                            Validation(state.step, total, figures, state.history[-1])
                        )
                if first:
                    rate = images * state.step / (time.perf_counter() - started_at)
                    callback.on_step(
                        TrainingStep(state.step, total, rate, means, gpu_use(context.device))
                    )
            state.seconds = time.perf_counter() - started_at
            # One look at the flag: a stop asked for while saving waits for the next step.
            stop = (
                look and context.processes.any_rank(stopping())
                if context.processes.size > 1
                else stopping()
            )
            if validate or state.step % settings.checkpoint_every == 0 or stop:
                _check_weights(context, state, checkpoint.parent)
                if first:
                    save_checkpoint(checkpoint, _snapshot(context, state))
            if stop:
                raise Stopped(state.step, total)
        if context.processes.any_rank(stopping()):
            raise Stopped(state.step, total)
    context.student.load_state_dict(state.best)
    return state.history, state.seconds


@contextmanager
def _compilation(context: TrainContext) -> Iterator[None]:
    """Turn errors of torch.compile, which may come at the first step only, into a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        module = type(error).__module__
        if not context.settings.compile or not module.startswith(
            ("torch._dynamo", "torch._inductor")
        ):
            raise
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"train.compile: torch cannot compile this student here ({reason}); set it to false"
        ) from error


def _forward(context: TrainContext) -> Forward:
    if not context.settings.compile:
        forward: Forward = context.processes.wrap(context.student, context.device)
        return forward
    if context.processes.size > 1:
        raise TrainingError(
            "train.compile: only for a run of one process; set it to false, or start it alone"
        )
    # Code for one shape at a time: code for any shape would come to depend on which were met
    # first, and a resumed run would end with other bits.
    compiled: Forward = torch.compile(context.student, dynamic=False)
    return compiled


def _refuse_other_step(context: TrainContext, state: _State, path: Path) -> None:
    if context.processes.any_rank(context.processes.broadcast(state.step) != state.step):
        raise TrainingError(
            f"{path}: not every process sees this checkpoint; put --runs on a file system that "
            "all machines share"
        )


def _fresh(context: TrainContext) -> _State:
    settings = context.settings
    optimizers = build_optimizers(
        context.method.param_groups(context.student.backbone, context.student.head),
        settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        count=context.method.optimizers,
        fused=context.device.type == "cuda",
    )
    average: WeightAverage | DenseAverage | None = None
    if settings.average == "swad":
        average = DenseAverage(
            context.student,
            start=settings.swad_start,
            end=settings.swad_end,
            tolerance=settings.swad_tolerance,
        )
    elif settings.average != "none":
        average = WeightAverage(
            context.student,
            settings.average,
            decay=settings.ema_decay,
            start=max(1, settings.sma_start),
        )
    half = context.dtype == torch.float16
    return _State(optimizers, average, torch.amp.GradScaler(context.device.type, enabled=half))


def _validate(
    context: TrainContext, state: _State, evaluated: Student, means: dict[str, float]
) -> Mapping[str, float]:
    if isinstance(state.average, WeightAverage):
        state.average.copy_to(evaluated)
    figures = context.validator(context, evaluated)
    value = figures[context.validator.figure]
    best = max(_values(context, state), default=-math.inf)
    if isinstance(state.average, DenseAverage):
        state.average.close(figures["val_loss"])
        average = deepcopy(context.student)
        state.average.copy_to(average)
        state.best = average.state_dict()
    elif value > best or (value == best and context.settings.ties == "latest"):
        state.best = {k: v.detach().clone() for k, v in evaluated.state_dict().items()}
    lr = state.optimizers[0].param_groups[0]["lr"]
    state.history.append({"step": state.step, "lr": lr, **means, **figures})
    state.sums, state.since = {}, 0
    return figures


def _values(context: TrainContext, state: _State) -> list[float]:
    """What every validation gave of the figure that selects."""
    return [row[context.validator.figure] for row in state.history]


def _check_weights(context: TrainContext, state: _State, folder: Path) -> None:
    """Refuse to save what no step can come back from."""
    tensors = context.student.state_dict().values()
    if not all(bool(t.isfinite().all()) for t in tensors if t.is_floating_point()):
        raise _diverged(context, state.step - 1, state.step, "the weights are", folder)


def is_stale(values: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` validations were all no better than one before; 0: never."""
    if not patience or len(values) <= patience:
        return False
    return max(values[-patience:]) <= max(values[:-patience])


def _diverged(
    context: TrainContext, first: int, end: int, what: str, folder: Path
) -> DivergedError:
    """Error of a value that is not finite, naming the images of the steps first..end-1."""
    images = context.images.images
    names = [
        images.name(position)
        for step in range(first, end)
        for position in batch_of(context, step).positions.tolist()
    ]
    where = f"step {end}" if end - first == 1 else f"steps {first + 1} to {end}"
    shown = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        listing = folder / "diverged.txt"
        write_text(listing, "\n".join(names) + "\n")
        shown += f" and {len(names) - _SHOWN} more, all in {listing}"
    return DivergedError(
        f"{where}: {what} not finite; lower train.lr and start a run of another name, or look at "
        f"the images of the batch: {shown}"
    )


def _snapshot(context: TrainContext, state: _State) -> dict[str, Any]:
    return {
        "step": state.step,
        "seconds": state.seconds,
        "student": context.student.state_dict(),
        "optimizers": [o.state_dict() for o in state.optimizers],
        "average": dict(state.average.state_dict()) if state.average else None,
        "scaler": state.scaler.state_dict(),
        "best": state.best,
        "history": state.history,
        "sums": state.sums,
        "since": state.since,
    }


def _restore(context: TrainContext, state: _State, saved: dict[str, Any], path: Path) -> None:
    device = context.device
    try:
        context.student.load_state_dict(saved["student"])
        for optimizer, old in zip(state.optimizers, saved["optimizers"], strict=True):
            load_optimizer(optimizer, old)
        if state.average is not None:
            state.average.load_state_dict(saved["average"])
        state.scaler.load_state_dict(saved["scaler"])
        state.step, state.seconds = saved["step"], saved["seconds"]
        state.best = {k: v.to(device) for k, v in saved["best"].items()}
        state.history = saved["history"]
        state.sums = {k: v.to(device) for k, v in saved["sums"].items()}
        state.since = saved["since"]
    except (KeyError, IndexError, AttributeError, RuntimeError, ValueError, TypeError):
        raise TrainingError(
            f"{path}: this checkpoint is of another student; delete it to start again"
        ) from None
