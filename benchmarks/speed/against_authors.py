"""A step of our loop against a step the authors' way, on the same images and losses.

    python -m benchmarks.speed.against_authors
    python -m benchmarks.speed.against_authors --students resnet18 --compile

The authors' way: the teacher's image encoder and text encoder run in every step, torch is eager
and in its default memory format, a plain SGD optimiser steps on SCI-PD's loss; its pictures are
ready as tensors. Ours: embeddings from a view cache, texts encoded once, and the step as a run
makes it, cutting and colouring of the views included. "student alone" is the authors' way without
the teacher; ours is one student as a run trains it and, with `--compile`, one that is compiled as
well. Weights are random: speed does not depend on them.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import torch
import torch.nn.functional as F

from benchmarks.speed import made_up
from benchmarks.speed.measuring import interleaved, measure_students, ratios
from benchmarks.speed.tables import results_file
from edgedistill.methods import METHODS, TeacherOutputs
from edgedistill.methods.text_bank import TextBank
from edgedistill.students.assemble import assemble_student
from edgedistill.teacher.open_clip import EMBEDDED, load_teacher
from edgedistill.train.device import resolve_device


def authors_steps(
    sizes: made_up.Sizes, net: torch.nn.Module, tokens: torch.Tensor, device: torch.device
) -> dict[str, Callable[[], object]]:
    """The authors' step, and the part of it that is the student's."""
    torch.manual_seed(0)
    method = METHODS["scipd"](METHODS["scipd"].Hyper(), text=made_up.texts(sizes, device))
    student = assemble_student(sizes.student, method, sizes.classes).to(device).train()
    optimizer = torch.optim.SGD(
        student.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4, foreach=False
    )
    visual: Any = net.visual
    side = visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    pictures = torch.randn(sizes.batch, 3, sizes.size, sizes.size, device=device)
    shown = torch.randn(sizes.batch, 3, side, side, device=device)
    labels = torch.randint(0, sizes.classes, (sizes.batch,), device=device)
    owner = torch.arange(sizes.classes, device=device)

    def train(image: torch.Tensor, text: torch.Tensor) -> None:
        bank = TextBank(text, owner, text, "mean", 100.0)
        losses = method.losses(student.head, student(pictures), labels, TeacherOutputs(image, bank))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()

    def whole() -> None:
        with torch.no_grad():
            image = F.normalize(net.encode_image(shown).float(), dim=1)  # type: ignore[operator]
            text = F.normalize(net.encode_text(tokens).float(), dim=1)  # type: ignore[operator]
        train(image, text)

    fixed = made_up.texts(sizes, device).pooled
    drawn = torch.arange(sizes.batch, device=device) % sizes.classes
    return {"authors": whole, "student alone": lambda: train(fixed[drawn], fixed)}


def measure(
    sizes: made_up.Sizes, net: torch.nn.Module, tokens: torch.Tensor, options: argparse.Namespace
) -> dict[str, Any]:
    """Seconds, and how many times faster than the authors' way."""
    device = resolve_device(options.device)
    pictures = made_up.images(sizes)
    jobs = authors_steps(sizes, net, tokens, device)
    with tempfile.TemporaryDirectory() as folder:
        cache = made_up.cache(sizes, Path(folder))
        for compiled in (False, True) if options.compile else (False,):
            train = made_up.settings(sizes, options.precision, compiled)
            context = made_up.context("scipd", sizes, train, pictures, cache, device)
            jobs["ours, compiled" if compiled else "ours"] = partial(made_up.stepping(context), 0)
        seconds = interleaved(jobs, options.rounds, device, warm_up=options.warm_up)
    return {
        name: {"seconds": median(times), "faster": ratios(seconds["authors"], times)}
        for name, times in seconds.items()
    }


def load(name: str, device: torch.device) -> torch.nn.Module:
    """An open_clip model: random weights, or those of a model of the package."""
    if name in EMBEDDED:
        return load_teacher(name, "", device).model.to(memory_format=torch.contiguous_format)
    net: torch.nn.Module = open_clip.create_model(name, device=device)
    return net.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--students", nargs="+", default=["resnet18", "mobilenet_v3_small", "efficientnet_b0"]
    )
    parser.add_argument("--teacher", default="ViT-B-16", help="an open_clip model or emoji-clip")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--classes", type=int, default=54)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of ours; the authors' is fp32")
    parser.add_argument("--compile", action="store_true", help="also ours with a compiled student")
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    device = resolve_device(options.device)
    net = load(options.teacher, device)
    length = int(net.context_length)  # type: ignore[arg-type]
    tokens = torch.randint(1, 300, (options.classes, length), device=device)
    width = F.normalize(net.encode_text(tokens[:1]).float()).shape[1]  # type: ignore[operator]

    def measure_student(student: str) -> dict[str, Any]:
        sizes = made_up.Sizes(
            student,
            options.size,
            options.size * 8 // 7,
            options.batch,
            classes=options.classes,
            width=width,
        )
        return measure(sizes, net, tokens, options)

    measure_students(
        options,
        device,
        measure_student,
        title=f"A step of {options.batch} images at {options.size} px, teacher {options.teacher}",
        columns=["student", "way", "s", "times faster", "low", "high"],
    )


if __name__ == "__main__":
    main()
