"""Cost of a dataset before the first step: decoding, packing, and the teacher's views.

    python -m benchmarks.speed.throughput --teacher ViT-B-16 --size 224
    python -m benchmarks.speed.throughput --teacher ViT-B-16 --device cuda --precision bf16

Measures, on pictures it makes up or on `--data`: images decoded and stored per second and core,
plain and packed; bytes of each; images read back per second and core; views the teacher embeds
per second. From these it works out any number of images: bytes, teacher passes, hours.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.speed.against_authors import load
from benchmarks.speed.input_pipeline import make_up
from benchmarks.speed.measuring import interleaved, record
from benchmarks.speed.tables import Shown, results_file, show
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.packed import pack, unpack
from edgedistill.runtime.preprocess import read_rgb
from edgedistill.train.device import resolve_device


def images(root: Path, size: int, limit: int, rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of one thread and bytes per image, stored plain and packed."""
    index = read_folder(root)
    chosen = np.linspace(0, len(index) - 1, min(limit, len(index))).astype(np.int64)
    paths = [index.path(int(row)) for row in chosen]
    pixels = [read_rgb(path, size) for path in paths]
    packed = [pack(image) for image in pixels]
    jobs: dict[str, Callable[[], object]] = {
        "decode": lambda: [read_rgb(path, size) for path in paths],
        "pack": lambda: [pack(image) for image in pixels],
        "unpack": lambda: [unpack(data, size) for data in packed],
    }
    seconds = interleaved(jobs, rounds, torch.device("cpu"))
    each = {name: median(times) / len(paths) for name, times in seconds.items()}
    files = sum(path.stat().st_size for path in paths) / len(paths)
    return {
        "files": {"bytes": files, "store": 0.0, "read": each["decode"]},
        "plain": {"bytes": float(size * size * 3), "store": each["decode"], "read": 0.0},
        "packed": {
            "bytes": sum(map(len, packed)) / len(packed),
            "store": each["decode"] + each["pack"],
            "read": each["unpack"],
        },
    }


def teacher(options: argparse.Namespace) -> dict[str, float]:
    """Views per second of an open_clip model of random weights, and the width of an embedding."""
    device = resolve_device(options.device)
    net = load(options.teacher, device).to(memory_format=torch.channels_last)
    visual: Any = net.visual
    side = visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    x = torch.randn(options.batch, 3, side, side, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    context = torch.autocast(device.type, half) if half else nullcontext()
    with torch.no_grad(), context:
        width = net.encode_image(x[:1]).shape[1]  # type: ignore[operator]
        job = {"views": lambda: net.encode_image(x)}  # type: ignore[operator]
        seconds = interleaved(job, options.rounds, device)["views"]
    return {"views_per_second": options.batch / median(seconds), "width": float(width)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a tree domain/class/image")
    parser.add_argument("--sample", type=int, default=200, help="pictures to time on")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--teacher", default="ViT-B-16", help="an open_clip model or emoji-clip")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=586_575, help="DomainNet has 586,575")
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = options.data or Path(folder) / "data"
        if options.data is None:
            make_up(root, options.sample)
        stored = images(root, options.size, options.sample, options.rounds)
    asked = teacher(options)
    many = options.images
    rows = [
        [
            name,
            costs["bytes"] / 1e3,
            many * costs["bytes"] / 1e9,
            1e3 * costs["store"],
            many * costs["store"] / options.cores / 60,
            1e3 * costs["read"],
            options.cores / costs["read"] if costs["read"] else "-",
        ]
        for name, costs in stored.items()
    ]
    columns = ["kept as", "kB", "GB in all", "ms to store", "min", "ms to read", "images/s"]
    title = f"{many:,} images at {options.size} px, {options.cores} cores"
    tables = [Shown(title, columns, rows)]
    views = many * options.views
    hours = views / asked["views_per_second"] / options.gpus / 3600
    total = views * asked["width"] * 2 / 1e9
    tables.append(
        Shown(
            f"{options.views} views of each, {options.teacher}, {options.gpus} devices",
            ["teacher passes", "views/s each", "hours", "GB of cache"],
            [[f"{views:,}", asked["views_per_second"], hours, total]],
        )
    )
    for table in tables:
        show(table)
    results = {"images": stored, "teacher": asked, "hours": hours, "cache_gb": total}
    record(options.out, resolve_device(options.device), vars(options), results, tables)
    print(f"measured in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
