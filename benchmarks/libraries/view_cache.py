"""CPU seconds that the files of a view cache take: filling them, and looking batches up.

    python -m benchmarks.libraries.view_cache

The embeddings are random and ready, so that what is timed is the package's own part: checksums, the
mapped file, and a file for every block of images that is replaced atomically. CPU time of the
process is taken, which other processes change little; waiting for the disk is no part of it.
"""

import argparse
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.teacher.view_cache.cache import ViewCache
from edgedistill.teacher.view_cache.files import fill, open_files

BATCH = 96
LOOKUPS = 200


def measure(folder: Path, images: int, views: int, dim: int) -> dict[str, float]:
    """CPU seconds to fill a cache of so many images, and to look up `BATCH` views of it."""
    rng = np.random.default_rng(0)
    header = {"images": images, "count": views, "width": dim}
    embeddings = rng.standard_normal((256, views * dim)).astype(np.float16)
    rows = np.arange(images)
    start = time.process_time()
    files = open_files(folder, header)
    fill(
        files,
        rows,
        rows.astype(np.uint64) + 1,
        lambda positions: embeddings[positions % len(embeddings)],
        len(embeddings),
        report=lambda done, total: None,
        waiting=lambda: None,
    )
    filled = time.process_time() - start
    cache = ViewCache(files.folder, files.embeddings().reshape(images, views, dim))
    seconds = []
    for _ in range(LOOKUPS):
        wanted, view = rng.integers(0, images, BATCH), rng.integers(0, views, BATCH)
        start = time.process_time()
        cache.lookup(wanted, view)
        seconds.append(time.process_time() - start)
    return {"fill": filled, "lookup": median(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=whole(1, 10**8), default=50_000)
    parser.add_argument("--views", type=whole(1, 1000), default=4)
    parser.add_argument("--dim", type=whole(1, 10**5), default=512)
    parser.add_argument("--rounds", type=whole(1, 100), default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    before, date = moment(), datetime.now(UTC)
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder), options.images, options.views, options.dim))
        print(rounds[-1], flush=True)
    record: dict[str, Any] = {
        "machine": machine(before, moment(), date),
        "numpy": np.__version__,
        "images": options.images,
        "views": options.views,
        "dim": options.dim,
        "batch": BATCH,
        "rounds": rounds,
    }
    write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
