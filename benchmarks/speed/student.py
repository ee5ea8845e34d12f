"""A student's own training step: torch's eager defaults against what a recipe can choose.

    python -m benchmarks.speed.student                   # 96 px, all three students
    python -m benchmarks.speed.student --compile --size 224 --batch 16

A step is forward, backward and SGD on random pictures, without a teacher and without an input
pipeline. Each way takes the one before it and changes one thing, but bfloat16 and compilation,
which both start from "our convolutions". bfloat16 is timed where there are instructions for
it (without them a CPU takes many times as long); a student is marked `cpu_bf16` in
edgedistill/students/torchvision.py only if it is the faster one here.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.speed.measuring import interleaved, measure_students, ratios
from benchmarks.speed.tables import results_file
from edgedistill.students import build_backbone
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import autocast, cpu_has_bf16, resolve_device

CLASSES = 54


def way(
    student: str,
    options: argparse.Namespace,
    device: torch.device,
    *,
    channels_last: bool = True,
    convolutions: bool = True,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> Callable[[], None]:
    """One way to make the step, with a network of its own."""
    torch.manual_seed(0)
    backbone, width = build_backbone(student)
    net = nn.Sequential(backbone, nn.Linear(width, CLASSES)).to(device).train()
    if convolutions:
        use_fast_convolutions(net)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(memory_format=layout)
    pictures = torch.randn(options.batch, 3, options.size, options.size, device=device)
    pictures = pictures.contiguous(memory_format=layout)
    labels = torch.randint(0, CLASSES, (options.batch,), device=device)
    # What torch takes by itself, and what a run asks for.
    optimizer = torch.optim.SGD(
        net.parameters(), lr=1e-3, momentum=0.9, foreach=True if channels_last else None
    )
    forward: Callable[[torch.Tensor], torch.Tensor] = net
    if compiled:
        forward = torch.compile(net, dynamic=False)

    def step() -> None:
        with autocast(device, dtype):
            logits = forward(pictures)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def measure(student: str, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Seconds of every way, and how many times faster than eager defaults."""
    ways: dict[str, dict[str, Any]] = {
        "eager defaults": {"channels_last": False, "convolutions": False},
        "channels_last": {"convolutions": False},
        "our convolutions": {},
    }
    has_bf16 = cpu_has_bf16() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    if has_bf16:
        ways["bf16"] = {"dtype": torch.bfloat16}
    if options.compile:
        ways["compiled"] = {"compiled": True}
        if has_bf16:
            ways["compiled, bf16"] = {"compiled": True, "dtype": torch.bfloat16}
    jobs = {name: way(student, options, device, **chosen) for name, chosen in ways.items()}
    seconds = interleaved(jobs, options.rounds, device, warm_up=2)
    base = seconds["eager defaults"]
    return {
        name: {"seconds": median(times), "faster": ratios(base, times)}
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--students", nargs="+", default=["resnet18", "mobilenet_v3_small", "efficientnet_b0"]
    )
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="compiled ways too; minutes more")
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    device = resolve_device(options.device)
    measure_students(
        options,
        device,
        lambda student: measure(student, options, device),
        title=f"A student's step of {options.batch} images at {options.size} px",
        columns=["student", "way", "s", "times faster", "low", "high"],
    )


if __name__ == "__main__":
    main()
