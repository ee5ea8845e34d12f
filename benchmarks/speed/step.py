"""Cost of a step of SCI-PD and of SCMD over a step of ERM, teacher embeddings cached.

    python -m benchmarks.speed.step                      # ResNet18, EfficientNet-B0, MobileNetV3
    python -m benchmarks.speed.step --students resnet18 --size 224 --rounds 15

SCMD trains on its hardest images first (it ranks the batch, then trains on a fifth) and on whole
batches in the last quarter; both kinds of step are measured, and the mean over a run. "of it
ranking" is the part of a selecting step that finds the hardest images. "one pass" is the
alternative to ranking in a pass of its own: the losses of the whole batch are computed once, and
only the selected rows are propagated back.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.speed import made_up
from benchmarks.speed.measuring import interleaved, measure_students, ratios
from benchmarks.speed.tables import results_file
from edgedistill.data.pixels import normalize
from edgedistill.data.views import ViewBatch
from edgedistill.methods import TeacherOutputs
from edgedistill.methods.base import StudentOutput
from edgedistill.methods.functional import hard_sample_indices
from edgedistill.train.averaging import WeightAverage
from edgedistill.train.batches import Batch
from edgedistill.train.context import TrainContext
from edgedistill.train.device import autocast, resolve_device, to_device
from edgedistill.train.step import batch_of, view_batch


def measure(sizes: made_up.Sizes, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and ratios of one student."""
    device = resolve_device(options.device)
    train = made_up.settings(sizes, options.precision, options.compile)
    pictures = made_up.images(sizes)
    with tempfile.TemporaryDirectory() as folder:
        cache = made_up.cache(sizes, Path(folder))
        tasks = {
            name: made_up.context(name, sizes, train, pictures, cache, device)
            for name in ("erm", "scipd", "scmd")
        }
        steps = {name: made_up.stepping(context) for name, context in tasks.items()}
        whole = made_up.context("scmd", sizes, train, pictures, cache, device)
        jobs = {
            "erm": lambda: steps["erm"](0),
            "scipd": lambda: steps["scipd"](0),
            "scmd selecting": lambda: steps["scmd"](0),
            "of it ranking": ranking(tasks["scmd"]),
            "scmd whole batch": lambda: steps["scmd"](sizes.steps - 1),
            "scmd selecting, one pass": one_pass(whole),
        }
        seconds = interleaved(jobs, options.rounds, device)
    last = 0.25
    seconds["scmd run"] = [
        (1 - last) * a + last * b
        for a, b in zip(seconds["scmd selecting"], seconds["scmd whole batch"], strict=True)
    ]
    return {
        name: {"seconds": median(times), "over_erm": ratios(times, seconds["erm"])}
        for name, times in seconds.items()
    }


def ranking(context: TrainContext) -> Callable[[], None]:
    """The pass of an SCMD step that finds its hardest images, and nothing else of the step."""
    share = context.method.keep_fraction(0, context.settings.steps)
    assert share is not None
    forward = made_up.forward_of(context)
    _, views, labels = first_batch(context)
    x = normalize(views.render(context.size), context.student.mean, context.student.std).contiguous(
        memory_format=torch.channels_last
    )

    def rank() -> None:
        context.student.eval()
        with torch.no_grad(), autocast(context.device, context.dtype):
            logits = forward(x).logits.float()
        context.student.train()
        hard_sample_indices(F.cross_entropy(logits, labels, reduction="none"), share)

    return rank


def first_batch(context: TrainContext) -> tuple[Batch, ViewBatch, torch.Tensor]:
    """The first batch of a run, its stored images with the views to cut, and its labels."""
    batch = batch_of(context, 0)
    labels = to_device(context.images.labels[batch.positions], context.device)
    return batch, view_batch(context, batch), labels


def one_pass(context: TrainContext) -> Callable[[], None]:
    """An SCMD step that selects from the outputs it trains on."""
    share = context.method.keep_fraction(0, context.settings.steps)
    teacher_fn, text = context.teacher_fn, context.text
    assert share is not None and teacher_fn is not None and text is not None
    forward = made_up.forward_of(context)
    (optimizer,) = made_up.optimizers_of(context)
    average = WeightAverage(context.student, "ema", decay=context.settings.ema_decay)

    def step() -> None:
        batch, views, labels = first_batch(context)
        x = normalize(
            views.render(context.size), context.student.mean, context.student.std
        ).contiguous(memory_format=torch.channels_last)
        with autocast(context.device, context.dtype):
            out = forward(x)
        ranked = F.cross_entropy(out.logits.detach().float(), labels, reduction="none")
        hard = hard_sample_indices(ranked, share)
        assert out.projected is not None
        part = StudentOutput(out.features[hard], out.logits[hard], out.projected[hard])
        teacher_outputs = TeacherOutputs(teacher_fn(batch, views, hard), text)
        losses = context.method.losses(context.student.head, part, labels[hard], teacher_outputs)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        optimizer.step()
        context.method.after_step(context.student.head)
        average.update(context.student)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--students", nargs="+", default=["resnet18", "efficientnet_b0", "mobilenet_v3_small"]
    )
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    measure_students(
        options,
        resolve_device(options.device),
        lambda student: measure(
            made_up.Sizes(student, options.size, options.size * 5 // 4, options.batch), options
        ),
        title=f"A training step of {options.batch} images at {options.size} px",
        columns=["student", "step", "s", "over ERM", "low", "high"],
    )


if __name__ == "__main__":
    main()
