"""Lossless formats for stored pictures: bytes, and time of one thread to encode and to decode.

    python -m benchmarks.speed.formats                            # on photographs it makes up
    python -m benchmarks.speed.formats --data emoji               # by domain: art to line drawings
    python -m benchmarks.speed.formats --data /data/domain_net --out FILE

`edgedistill.data.store.packed` keeps large stores in WebP at its fastest setting; these are the
others.
"""

import argparse
import io
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.speed.input_pipeline import make_up
from benchmarks.speed.measuring import interleaved, record
from benchmarks.speed.tables import Shown, results_file, show
from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import Index
from edgedistill.runtime.preprocess import ImageProblem, read_rgb

FORMATS: dict[str, dict[str, Any]] = {
    "PNG, fastest": {"format": "PNG", "compress_level": 1},
    "PNG, default": {"format": "PNG"},
    "WebP, fastest": {"format": "WEBP", "lossless": True, "quality": 0, "method": 0},
    "WebP, default": {"format": "WEBP", "lossless": True},
}


def encode(image: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
    """uint8 `[S, S, 3]` to the bytes of a file."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, **options)
    return out.getvalue()


def decode(data: bytes) -> NDArray[np.uint8]:
    """The bytes of a file to uint8 `[S, S, 3]`."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def pictures(index: Index, domain: int, size: int, limit: int) -> list[NDArray[np.uint8]]:
    """Readable pictures spread over a domain, at most `limit`."""
    rows = np.flatnonzero(index.domain == domain)
    rows = rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64)]
    pictures = []
    for row in rows.tolist():
        try:
            pictures.append(read_rgb(index.path(row), size))
        except ImageProblem:
            continue
    return pictures


def compare(images: list[NDArray[np.uint8]], rounds: int) -> dict[str, dict[str, float]]:
    """Bytes and seconds per picture of every format."""
    files = {name: [encode(i, options) for i in images] for name, options in FORMATS.items()}
    jobs = {}
    for name, options in FORMATS.items():
        jobs[f"encode {name}"] = partial(_each, partial(encode, options=options), images)
        jobs[f"decode {name}"] = partial(_each, decode, files[name])
    seconds = interleaved(jobs, rounds, torch.device("cpu"))
    return {
        name: {
            "bytes": sum(map(len, files[name])) / len(images),
            "encode": median(seconds[f"encode {name}"]) / len(images),
            "decode": median(seconds[f"decode {name}"]) / len(images),
        }
        for name in FORMATS
    }


def _each(change: Any, items: list[Any]) -> None:
    for item in items:
        change(item)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="emoji, or a tree domain/class/image")
    parser.add_argument("--sample", type=int, default=60, help="pictures of each domain")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.data is None:
            make_up(Path(folder) / "pictures", options.sample)
        index = load_dataset(options.data or f"{folder}/pictures")
        for number, domain in enumerate(index.domains):
            images = pictures(index, number, options.size, options.sample)
            if images:
                called = domain if options.data else f"made up, {domain}"
                results[called] = compare(images, options.rounds)
    plain = 3 * options.size**2
    rows = [
        [domain, name, f["bytes"] / 1e3, f["bytes"] / plain, 1e3 * f["encode"], 1e3 * f["decode"]]
        for domain, by_format in results.items()
        for name, f in by_format.items()
    ]
    columns = ["pictures", "format", "kB", "of plain bytes", "ms to encode", "ms to decode"]
    shown = Shown(f"Lossless formats at {options.size} px", columns, rows)
    show(shown)
    settings = {**vars(options), "data": options.data and Path(options.data).name}
    record(options.out, torch.device("cpu"), settings, results, [shown])


if __name__ == "__main__":
    main()
