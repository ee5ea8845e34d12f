"""Images per second into a training step: ours against torchvision's, at equal augmentation.

    python -m benchmarks.speed.input_pipeline                       # on JPEGs it makes up
    python -m benchmarks.speed.input_pipeline --data data/PACS --size 224

torchvision: ImageFolder, DataLoader with 2 workers, transforms.v2 (random resized crop, mirror,
colour jitter, greyscale, normalise). Ours: images decoded once into a store, plain or packed, and
the same augmentation cut from the batch. Everything ends as a normalised float32 batch on the
device. What a store costs once is in the table too.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.speed.measuring import interleaved, ratios, record
from benchmarks.speed.tables import Shown, results_file, show
from edgedistill.data.index import Index
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.pixels import normalize
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store import image_store as store
from edgedistill.data.views import ViewBatch, ViewSpec, image_key, view_parameters
from edgedistill.train.device import resolve_device, to_device

SPEC = ViewSpec(
    seed=0,
    scale=(0.7, 1.0),
    ratio=(0.75, 4 / 3),
    flip=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.3,
    grayscale=0.1,
)
WORKERS = 2


def make_up(root: Path, count: int) -> None:
    """JPEGs of 500 x 375, quality 90, as busy as photographs: about 80 kB."""
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / f"domain{number % 2}" / f"class{number % 6 // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noise = rng.normal(0, 6, smooth.shape).astype(np.int16)
        picture = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
        picture.save(folder / f"{number}.jpg", quality=90)


def torchvisions(
    root: Path, size: int, batch: int, device: torch.device
) -> Callable[[], Generator[Tensor, None, None]]:
    """Starts a DataLoader that never ends; closing what it gives ends its workers."""
    change = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(size, scale=SPEC.scale, ratio=SPEC.ratio, antialias=True),
            v2.RandomHorizontalFlip(SPEC.flip),
            v2.ColorJitter(SPEC.brightness, SPEC.contrast, SPEC.saturation, SPEC.hue),
            v2.RandomGrayscale(SPEC.grayscale),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    images = ImageFolder(str(root), change)

    def batches() -> Generator[Tensor, None, None]:
        loader = DataLoader(
            images,
            batch_size=batch,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )
        for epoch in itertools.repeat(loader):
            for views, _ in epoch:
                yield views.to(device, non_blocking=True)

    return batches


def ours(
    index: Index, opened: store.Store, size: int, batch: int, device: torch.device
) -> Callable[[], Tensor]:
    """The next batch of random images and views of a store."""
    rows = np.flatnonzero(opened.readable)
    images = opened.images(rows)
    keys = np.array([image_key(path) for path in index.paths], dtype=np.uint64)[rows]
    rng = np.random.default_rng(0)

    def following() -> Tensor:
        chosen = rng.integers(len(rows), size=batch)
        parameters = view_parameters(SPEC, keys[chosen], rng.integers(16, size=batch))
        views = ViewBatch(to_device(images[chosen], device), to_device(parameters, device))
        return normalize(views.render(size), IMAGENET_MEAN, IMAGENET_STD)

    return following


def measure(root: Path, cache: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Images per second of every pipeline, and ratios to torchvision's."""
    device = resolve_device(options.device)
    index = read_folder(root)
    opened, once = {}, {}
    # A limit of nothing packs, and reads as it goes.
    for name, limit in (("plain store", 2**60), ("packed store", 0)):
        store.PACK_ABOVE = store.RAM_LIMIT = limit
        start = time.perf_counter()
        opened[name] = store.open_store(index, options.store_size, cache / name.split()[0])
        once[name] = time.perf_counter() - start
    begin = torchvisions(root, options.size, options.batch, device)
    theirs = begin()
    following: dict[str, Callable[[], Tensor]] = {"torchvision": lambda: next(theirs)}
    for name, limit in (("plain store", 2**60), ("packed store", 0)):
        store.RAM_LIMIT = limit
        following[name] = ours(index, opened[name], options.size, options.batch, device)

    def hire() -> None:
        nonlocal theirs
        theirs = begin()
        # What the workers fetch before their turn is not counted as speed.
        for _ in range(WORKERS * 2):
            next(theirs)

    def dismiss() -> None:
        # Left alone, the workers would fetch ahead on the cores that the stores are timed on.
        theirs.close()

    def read(name: str) -> None:
        for _ in range(options.batches):
            following[name]()

    jobs = {name: partial(read, name) for name in following}
    before = {name: hire if name == "torchvision" else dismiss for name in jobs}
    seconds = interleaved(jobs, options.rounds, device, before=before)
    dismiss()
    images = options.batches * options.batch
    return {
        name: {
            "images_per_second": images / median(seconds[name]),
            "over_torchvision": ratios(seconds["torchvision"], seconds[name]),
            "seconds_once": once.get(name, 0.0),
            "bytes": sum(f.stat().st_size for f in opened[name].folder.iterdir())
            if name in opened
            else 0,
        }
        for name in following
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="a tree domain/class/image")
    parser.add_argument("--images", type=int, default=1200, help="how many to make up without")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--store-size", type=int, default=120)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--batches", type=int, default=12, help="in each round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = options.data or Path(folder) / "data"
        if options.data is None:
            make_up(root, options.images)
        results = measure(root, Path(folder) / "cache", options)
    rows = [
        [name, f["images_per_second"], *f["over_torchvision"].values(), f["seconds_once"]]
        for name, f in results.items()
    ]
    shown = Shown(
        f"Input alone, {options.batch} images at {options.size} px, {WORKERS} workers",
        ["pipeline", "images/s", "over torchvision", "low", "high", "s once"],
        rows,
    )
    show(shown)
    record(options.out, resolve_device(options.device), vars(options), results, [shown])


if __name__ == "__main__":
    main()
