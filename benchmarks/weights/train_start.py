"""Train start weights of a student: it learns to embed as the teacher does.

The student sees augmented art of the vendors in art.npz and is pulled towards the teacher's
embedding of the plain drawing, mixed with the teacher's mean over all styles of that emoji. No
class of the benchmark is named, none of its images is shown. Backbone and projection into the
teacher's space are one file. Without OUT it lies in the cache folder, where
`student.weights = "embedded"` finds it. Resumable: kill it and run the same command again. ResNet18
trains in bfloat16 where the CPU multiplies it, as in a run.

    python -m benchmarks.weights.train_start art.npz TEACHER_FOLDER [OUT.safetensors] \\
        --student mobilenet_v3_small --steps 1500
    python -m benchmarks.weights.train_start art.npz TEACHER_FOLDER \\
        --student efficientnet_b0 --init lite0 --batch 96
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from benchmarks.weights.augment import augment
from benchmarks.weights.held_out import HELD_OUT
from benchmarks.weights.lite0 import lite0_tensors, start_from_lite0
from edgedistill._utils.atomic import replacing
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.pixels import to_chw
from edgedistill.errors import EdgeDistillError
from edgedistill.students import STUDENTS, build_backbone
from edgedistill.students.int8_weights import quantize_tensors
from edgedistill.students.weights import (
    PROJECTION,
    PROJECTION_TEACHER,
    built_weights,
    read_safetensors,
)
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.train.cpu_kernels.convolutions import use_fast_convolutions
from edgedistill.train.device import autocast, autocast_dtype

WARM_UP = 60
CPU = torch.device("cpu")


def teacher_targets(teacher: Teacher, images: Tensor, emoji: np.ndarray, count: int) -> Tensor:
    """Unit-norm float32 `[n, D]`: each drawing's embedding plus the mean of its emoji's."""
    embeddings = []
    for i in range(0, len(images), 256):
        x = images[i : i + 256].float() / 255
        size = (teacher.size, teacher.size)
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        embeddings.append(teacher.encode_images(x))
    own = torch.cat(embeddings)
    rows = torch.from_numpy(emoji)
    mean = torch.zeros(count, own.shape[1]).index_add_(0, rows, own)
    return F.normalize(own + F.normalize(mean, dim=1)[rows], dim=1)


def load_art(path: Path) -> tuple[Tensor, np.ndarray, int]:
    """Drawings uint8 `[n, 3, S, S]`, the emoji that each shows, and how many emoji there are."""
    art = np.load(path)
    count = len(json.loads(art["table"].tobytes()))
    styles = [
        k for k in art.files if k != "table" and not k.endswith("/emoji") and k not in HELD_OUT
    ]
    images = to_chw(torch.from_numpy(np.concatenate([art[s] for s in styles])))
    return images, np.concatenate([art[f"{s}/emoji"] for s in styles]), count


def build_net(student: str, init: str, width: int) -> nn.Sequential:
    """Backbone and projection to `width`; `init` is "lite0" or what a recipe's weights may be."""
    torch.manual_seed(0)
    backbone, features = build_backbone(student, "none" if init == "lite0" else init)
    if init == "lite0":
        if student != "efficientnet_b0":
            raise SystemExit("--init lite0 is for efficientnet_b0 only")
        start_from_lite0(backbone, lite0_tensors())
    for module in backbone.modules():
        # Drawn anew at every step, augmentation is all the noise that a run this short needs.
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    net = nn.Sequential(backbone, nn.Linear(features, width, bias=False))
    if init.endswith(".safetensors"):
        projection = read_safetensors(Path(init)).get(PROJECTION)
        if projection is not None:
            net[1].load_state_dict({"weight": projection})
    use_fast_convolutions(net)
    return net.to(memory_format=torch.channels_last)


def distance(out: Tensor, target: Tensor, emoji: np.ndarray) -> Tensor:
    """Scalar: cosine distance of unit-norm rows, and a contrast between the emoji of the batch."""
    same = torch.from_numpy(emoji[:, None] == emoji[None]).float()
    logits = 12 * out @ target.T
    contrast = -((same / same.sum(1, keepdim=True)) * logits.log_softmax(1)).sum(1).mean()
    return 4 * (1 - (out * target).sum(1)).mean() + 0.25 * contrast


class Training:
    """A network, its optimiser and the mean of its weights, at some step."""

    def __init__(
        self, net: nn.Sequential, lr: float, about: str, dtype: torch.dtype | None = None
    ) -> None:
        self.net, self.lr, self.about, self.dtype, self.step = net, lr, about, dtype, 0
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=0.02)
        self.average = {k: v.clone() for k, v in net.state_dict().items()}

    def save(self, path: Path) -> None:
        with replacing(path) as temporary:
            state = {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average,
                "step": self.step,
                "about": self.about,
            }
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True)
        if saved.get("about") != self.about:
            raise SystemExit(
                f"{path}: of another training ({saved.get('about')}, now {self.about}); "
                "delete it or choose another OUT"
            )
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average, self.step = saved["average"], saved["step"]

    def export(self, path: Path, fingerprint: str, int8: bool) -> None:
        """The mean of the weights, matrices in float16 or `int8`."""
        state = {k[2:]: v for k, v in self.average.items() if k.startswith("0.")}
        state[PROJECTION] = self.average["1.weight"]
        if int8:
            small = quantize_tensors(state)
        else:
            small = {k: v.half() if v.ndim > 1 else v for k, v in state.items()}
        with replacing(path) as temporary:
            save_file(
                {k: v.contiguous() for k, v in small.items()},
                temporary,
                metadata={PROJECTION_TEACHER: fingerprint},
            )

    def update(self, x: Tensor, target: Tensor, emoji: np.ndarray, steps: int) -> float:
        """One step of `steps` on images `[B, 3, S, S]`; returns the loss."""
        rise = min(1, (self.step + 1) / WARM_UP)
        for g in self.optimizer.param_groups:
            g["lr"] = self.lr * rise * 0.5 * (1 + math.cos(math.pi * self.step / steps))
        with autocast(CPU, self.dtype):
            out = self.net(x.contiguous(memory_format=torch.channels_last))
        out = F.normalize(out.float(), dim=1)
        loss = distance(out, target, emoji)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        decay = min(0.99, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            for k, v in self.net.state_dict().items():
                if v.is_floating_point():
                    self.average[k].lerp_(v, 1 - decay)
                else:
                    self.average[k].copy_(v)
        self.step += 1
        return loss.item()


def losses(
    training: Training, images: Tensor, emoji: np.ndarray, targets: Tensor, options: Any
) -> Iterator[float]:
    """Train to the last step; batches are a function of the step alone."""
    mean, std = (
        torch.tensor(IMAGENET_MEAN)[:, None, None],
        torch.tensor(IMAGENET_STD)[:, None, None],
    )
    while training.step < options.steps:
        torch.manual_seed(training.step)
        rng = np.random.default_rng([1, training.step])
        picked = rng.integers(len(images), size=options.batch)
        x = (augment(images[picked], options.size) - mean) / std
        yield training.update(x, targets[picked], emoji[picked], options.steps)


def parse(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("art", type=Path)
    parser.add_argument("teacher", type=Path, help="folder; edgedistill/weights/emoji-clip ships")
    parser.add_argument("out", type=Path, nargs="?", help="default: into the cache folder")
    parser.add_argument("--student", default="mobilenet_v3_small", choices=list(STUDENTS))
    parser.add_argument(
        "--init", default="none", help="none (random), lite0, imagenet or start weights of before"
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=256, help="images a step")
    parser.add_argument("--size", type=int, default=64, help="input side, pixels")
    parser.add_argument("--lr", type=float, help="default: 0.003, or 0.001 with --init")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's")
    parser.add_argument("--int8", action="store_true", help="one byte a weight instead of two")
    parser.add_argument("--save-every", type=int, default=100, help="steps a kill may lose")
    args = parser.parse_args(arguments)
    args.out = args.out or built_weights(args.student)
    args.lr = args.lr or (3e-3 if args.init == "none" else 1e-3)
    return args


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    images, emoji, count = load_art(args.art)
    teacher = load_teacher(f"local-dir:{args.teacher}", "", CPU)
    targets = teacher_targets(teacher, images, emoji, count)
    about = (
        f"{args.student} from {args.init}, {args.batch} images of {args.size} px, "
        f"teacher {teacher.fingerprint[:12]}"
    )
    dtype = autocast_dtype("auto", CPU, args.student)
    if dtype is not None:
        about += f", {dtype}".replace("torch.", "")
    net = build_net(args.student, args.init, targets.shape[1])
    training = Training(net, args.lr, about, dtype)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out.with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        training.load(checkpoint)
    began, first, values = time.monotonic(), training.step, []
    print(f"{about}: step {first} of {args.steps}", flush=True)
    for loss in losses(training, images, emoji, targets, args):
        values.append(loss)
        if training.step % args.save_every == 0 or training.step == args.steps:
            training.save(checkpoint)
            training.export(args.out, teacher.fingerprint, args.int8)
            speed = (time.monotonic() - began) / (training.step - first)
            recent = np.mean(values[-100:])
            print(f"step {training.step} loss {recent:.3f} {speed:.2f} s/step", flush=True)
    if first >= args.steps:
        training.export(args.out, teacher.fingerprint, args.int8)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDistillError as error:
        raise SystemExit(str(error)) from None
