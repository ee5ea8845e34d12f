"""Train the embedded start weights of a student: it learns to embed as the teacher does.

The student, from random weights, sees augmented art of the vendors in art.npz and is pulled
towards the teacher's embedding of the plain drawing, mixed with the teacher's mean over all
styles of that emoji. No class of the benchmark is named, none of its images is shown. Backbone
and projection into the teacher's space ship together. Resumable.

    python benchmarks/emoji_clip/train_start.py art.npz TEACHER_FOLDER OUT.safetensors \\
        --student mobilenet_v3_small --steps 1500
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from augment import augment
from safetensors.torch import save_file
from torch import Tensor, nn
from train_teacher import HELD_OUT, MEAN, STD

from edgedistill.students import PROJECTION, PROJECTION_TEACHER, build_backbone
from edgedistill.teacher.clip import Teacher, load_teacher
from edgedistill.train.depthwise import use_fast_depthwise

BATCH = 256
SIZE = 64


def teacher_targets(teacher: Teacher, images: Tensor, emoji: np.ndarray, count: int) -> Tensor:
    """Unit-norm float32 `[n, D]`: each drawing's embedding plus the mean of its emoji's."""
    found = []
    for i in range(0, len(images), 256):
        x = images[i : i + 256].float() / 255
        size = (teacher.size, teacher.size)
        x = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        found.append(teacher.encode_images(x))
    own = torch.cat(found)
    rows = torch.from_numpy(emoji)
    mean = torch.zeros(count, own.shape[1]).index_add_(0, rows, own)
    return F.normalize(own + F.normalize(mean, dim=1)[rows], dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("art", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    art = np.load(args.art)
    count = len(json.loads(art["table"].tobytes()))
    styles = [
        k for k in art.files if k != "table" and not k.endswith("/emoji") and k not in HELD_OUT
    ]
    images = torch.from_numpy(np.concatenate([art[s] for s in styles])).permute(0, 3, 1, 2)
    emoji = np.concatenate([art[f"{s}/emoji"] for s in styles])
    teacher = load_teacher(f"local-dir:{args.teacher}", "", torch.device("cpu"))
    targets = teacher_targets(teacher, images, emoji, count)

    torch.manual_seed(0)
    backbone, width = build_backbone(args.student, "none")
    net = nn.Sequential(backbone, nn.Linear(width, targets.shape[1], bias=False))
    use_fast_depthwise(net)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=0.02)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    start, checkpoint = 0, args.out.with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        average, start = saved["average"], saved["step"]
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    began, losses = time.time(), []
    for step in range(start, args.steps):
        torch.manual_seed(step)
        rng = np.random.default_rng([1, step])
        lr = args.lr * min(1, (step + 1) / 60) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for g in optimizer.param_groups:
            g["lr"] = lr
        picked = rng.integers(len(images), size=BATCH)
        x = (augment(images[picked], SIZE) - mean) / std
        out = F.normalize(net(x.contiguous(memory_format=torch.channels_last)), dim=1)
        target = targets[picked]
        same = torch.from_numpy(emoji[picked][:, None] == emoji[picked][None]).float()
        logits = 12 * out @ target.T
        contrast = -((same / same.sum(1, keepdim=True)) * logits.log_softmax(1)).sum(1).mean()
        loss = 4 * (1 - (out * target).sum(1)).mean() + 0.25 * contrast
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay = min(0.99, (step + 1) / (step + 20))
        with torch.no_grad():
            for k, v in net.state_dict().items():
                if v.is_floating_point():
                    average[k].lerp_(v, 1 - decay)
                else:
                    average[k].copy_(v)
        losses.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            state = {
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step + 1,
            }
            torch.save(state, f"{checkpoint}.tmp")
            os.replace(f"{checkpoint}.tmp", checkpoint)
            found = {k[2:]: v for k, v in average.items() if k.startswith("0.")}
            found[PROJECTION] = average["1.weight"]
            half = {k: v.half() if v.ndim > 1 else v for k, v in found.items()}
            save_file(
                {k: v.contiguous() for k, v in half.items()},
                args.out,
                metadata={PROJECTION_TEACHER: teacher.fingerprint},
            )
            speed = (time.time() - began) / (step + 1 - start)
            print(
                f"step {step + 1} loss {np.mean(losses[-100:]):.3f} {speed:.2f} s/step", flush=True
            )


if __name__ == "__main__":
    main()
