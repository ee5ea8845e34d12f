"""Peak memory of a run over many images of many classes, at several numbers of images.

    python -m benchmarks.speed.memory --out benchmarks/speed/results/memory.json

Pictures are made up (smooth colours, 32 px), in four domains and 1,000 classes, and so is the
teacher, a small CLIP of random weights: what is measured depends on counts, not on what a picture
shows. Every run is a process of its own. Linux only: peaks are those of /proc/self/status, sampled
every 20 ms, *own* memory (RssAnon) and *resident* (VmRSS, with the pages of mapped files in it).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

import edgedistill as ed
from benchmarks.script import read_record, run_script, wholes
from benchmarks.speed.measuring import machine
from edgedistill._utils.atomic import write_json
from edgedistill.callbacks import Callback, Stage
from edgedistill.errors import EdgeDistillError

DOMAINS = ("north", "east", "south", "west")
CLASSES = 1000
SIDE = 32
_STATUS = Path("/proc/self/status")
_SECONDS = 0.02
_CLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "image_size": SIDE,
            "layers": 1,
            "width": 64,
            "head_width": 32,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"},
}


class _Peaks(Callback):
    """Largest own and resident memory of each stage of a run, bytes."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, int]] = {}
        self._stage = "start"

    def on_stage(self, stage: Stage) -> None:
        self.look()
        self._stage = str(stage)

    def look(self) -> None:
        peaks = self.stages.setdefault(self._stage, {"own": 0, "resident": 0})
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        for name, field in (("own", "RssAnon"), ("resident", "VmRSS")):
            peaks[name] = max(peaks[name], 1024 * int(fields[field].split()[0]))

    @contextmanager
    def sampled(self) -> Iterator[None]:
        """Look every few ms until the block ends."""
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(_SECONDS):
                self.look()

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            yield
        finally:
            ended.set()
            sampler.join()


def draw_images(folder: Path, images: int) -> None:
    """Write `images` pictures below `folder`, the same number in each class of each domain."""
    each = images // (len(DOMAINS) * CLASSES)

    def draw(number: int) -> None:
        domain, label = divmod(number, CLASSES)
        below = folder / DOMAINS[domain] / f"class_{label:04d}"
        below.mkdir(parents=True)
        rng = np.random.default_rng(number)
        for image in range(each):
            colors = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            picture = Image.fromarray(colors).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            picture.save(below / f"{image}.jpg", quality=90)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(len(DOMAINS) * CLASSES)))


def make_teacher(folder: Path) -> None:
    """Write a small CLIP of random weights that `local-dir:` loads."""
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(_CLIP))
    torch.manual_seed(0)
    state = open_clip.model.CLIP(**_CLIP["model_cfg"]).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "open_clip_model.safetensors")


def recipe(folder: Path) -> dict[str, Any]:
    """The run that is measured, over the images and the teacher in `folder`."""
    return {
        "data": {
            "dataset": str(folder / "images"),
            "target": DOMAINS[-1],
            "unknown": [f"class_{label:04d}" for label in range(CLASSES - 100, CLASSES)],
        },
        "views": {"count": 1, "store_size": 48},
        "teacher": {"model": f"local-dir:{folder / 'teacher'}"},
        "student": {"model": "mobilenet_v3_small", "weights": "none", "size": SIDE},
        "method": {"name": "scipd"},
        "train": {"steps": 20, "warmup_steps": 0, "eval_every": 20},
    }


def measure_run(folder: Path) -> dict[str, Any]:
    """Peaks of a run over the images in `folder`, in this process."""
    peaks = _Peaks()
    with peaks.sampled():
        ed.run(recipe(folder), folder / "run", callbacks=[peaks])
    return peaks.stages


def measure(images: int, below: Path) -> dict[str, Any]:
    """Peaks of a run over `images` made-up images, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=below) as name:
        folder = Path(name)
        draw_images(folder / "images", images)
        make_teacher(folder / "teacher")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.memory", "--folder", folder],
            env={**os.environ, "EDGEDISTILL_CACHE": str(folder / "cache")},
            stdout=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        raise EdgeDistillError(f"the run over {images} images failed")
    stages = json.loads(done.stdout)
    whole = {key: max(peaks[key] for peaks in stages.values()) for key in ("own", "resident")}
    return {"images": images, "peak": whole, "stages": stages}


def main(show: Callable[[str], None] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=wholes(20_000, 10**7), default=[20_000, 200_000])
    parser.add_argument("--below", type=Path, default=None, help="folder for the images")
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write")
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        show(json.dumps(measure_run(options.folder)))
        return
    record: dict[str, Any] = {"classes": CLASSES, **machine(torch.device("cpu")), "runs": []}
    if options.out is not None and options.out.exists():
        # Each number of images takes long: those measured before stay.
        record = read_record(options.out, "python -m benchmarks.speed.memory")
    for images in options.images:
        run = measure(images, options.below)
        peak = run["peak"]
        show(
            f"{images:,} images: {peak['own'] / 1e9:.2f} GB own, "
            f"{peak['resident'] / 1e9:.2f} GB resident"
        )
        others = [other for other in record["runs"] if other["images"] != images]
        record["runs"] = sorted([*others, run], key=lambda one: one["images"])
        if options.out is not None:
            write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
