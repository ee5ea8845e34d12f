"""Zero-shot accuracy of start weights on the held-out style, through their projection.

    python -m benchmarks.weights.start_quality art.npz edgedistill/weights/emoji-clip \\
        mobilenet_v3_small efficientnet_b0 resnet18=elsewhere.safetensors

Prints, for the teacher and every student, accuracy on the benchmark's twelve known classes and
AUROC against its unknown ones, in per cent, on FxEmoji's drawings of the same emoji, then on their
outlines.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.script import run_script
from benchmarks.weights.held_out import HELD_OUT
from edgedistill.data.emoji.catalogue import catalogue, plain_code
from edgedistill.data.emoji.classes import KNOWN
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.pixels import to_chw_float
from edgedistill.methods.text_bank import TextBank
from edgedistill.students import STUDENTS, build_backbone, start_projection
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import build_text_bank

TEMPLATES = ["a photo of a {}", "a picture of {}", "a drawing of a {}"]
Embed = Callable[[Tensor], Tensor]


def held_out(art: Path, size: int) -> list[tuple[Tensor, NDArray[np.int64]]]:
    """Drawings of the benchmark's emoji in every held-out style.

    Returns:
        float32 `[n, 3, size, size]` in 0 to 1, and int64 `[n]`, the known class or -1, per style.
    """
    arrays, folders = np.load(art), {plain_code(e.code): e.folder for e in catalogue()}
    table = json.loads(arrays["table"].tobytes())
    known = {kind.folder: number for number, kind in enumerate(KNOWN)}
    styles = []
    for style in HELD_OUT:
        shown = [
            folders.get(plain_code(table[row]["code"].lower())) for row in arrays[f"{style}/emoji"]
        ]
        shown_rows = [number for number, folder in enumerate(shown) if folder is not None]
        images = to_chw_float(torch.from_numpy(arrays[style][shown_rows])) / 255
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        styles.append((images, np.array([known.get(str(shown[n]), -1) for n in shown_rows])))
    return styles


def worth(embed: Embed, bank: TextBank, images: Tensor, labels: NDArray[np.int64]) -> str:
    """Accuracy and AUROC, per cent."""
    with torch.inference_mode():
        rows = [bank.cosines(embed(part)) for part in images.split(128)]
    cosines, known = torch.cat(rows).numpy(), labels >= 0
    accuracy = (cosines.argmax(1) == labels)[known].mean()
    return f"{100 * accuracy:.1f} {100 * roc_auc_score(known, cosines.max(1)):.1f}"


def student(name: str, weights: str, teacher: str) -> Embed:
    """Images in 0 to 1 to unit-norm rows of the teacher's space."""
    net, _ = build_backbone(name, weights)
    projection = start_projection(name, weights, teacher)
    if projection is None:
        raise SystemExit(f"{name} ({weights}): no projection into this teacher's space")
    mean, std = (
        torch.tensor(IMAGENET_MEAN)[:, None, None],
        torch.tensor(IMAGENET_STD)[:, None, None],
    )
    net.eval()
    return lambda images: F.normalize(net((images - mean) / std) @ projection.T, dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("art", type=Path)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("students", nargs="+", help=f"NAME or NAME=FILE: {', '.join(STUDENTS)}")
    args = parser.parse_args()
    teacher = load_teacher(f"local-dir:{args.teacher}", "", torch.device("cpu"))
    names = [kind.names for kind in KNOWN]
    bank = build_text_bank(teacher.encode_texts, names, TEMPLATES, "best", 1.0)
    styles = held_out(args.art, teacher.size)
    embeds: dict[str, Embed] = {"teacher": teacher.encode_images}
    for given in args.students:
        name, _, weights = given.partition("=")
        embeds[given] = student(name, weights or "embedded", teacher.fingerprint)
    for label, embed in embeds.items():
        print(label, *(worth(embed, bank, *style) for style in styles), sep="  ", flush=True)


if __name__ == "__main__":
    run_script(main)
