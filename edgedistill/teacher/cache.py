"""The teacher's embeddings of views, computed once and shared by every run over the same data.

A cache is a folder named by the hash of everything its numbers depend on apart from the pixels:
teacher and weights, normalisation, view specification and code version, store size, and the list
of images. Inside: `header.json` (those facts, readable), `embeddings.f16` (`[images, views, D]`,
sparse on disk until filled), and `pixels.u64` (`[images]`, the hash of the stored pixels an
image's row was computed from, 0 where it was not yet). A row counts only if that hash still
matches, so neither a changed image nor a killed build can leave a wrong embedding behind, and
runs over other targets or splits fill in just the images they add.
"""

import hashlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from edgedistill.atomic import replacing, write_json
from edgedistill.data.normalise import Channels
from edgedistill.data.views import VERSION, ViewSpec, image_key, render_views, view_parameters
from edgedistill.errors import EdgeDistillError
from edgedistill.teacher.clip import Teacher

Report = Callable[[int, int], None]
# How much work a killed build may lose.
FLUSH_SECONDS = 2.0


@dataclass(frozen=True)
class ViewCache:
    """Teacher embeddings of views.

    Attributes:
        folder: where it lies.
        embeddings: float16 memmap `[images, views, D]`, read-only; rows not asked for may be empty.
    """

    folder: Path
    embeddings: NDArray[np.float16]

    def lookup(self, images: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings `[B, D]` of view `views[i]` of image `images[i]`, float32, about unit norm."""
        return np.asarray(self.embeddings[images, views], dtype=np.float32)


@dataclass(frozen=True)
class ViewSource:
    """What views are cut from.

    Attributes:
        paths: all images of the dataset, in index order; they name the cache and key the views.
        pixels: uint8 `[n, S, S, 3]`, stored images of `rows`.
        rows: index rows of `pixels`.
    """

    paths: tuple[str, ...]
    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]


def embed_views(
    teacher: Teacher,
    source: ViewSource,
    positions: NDArray[np.int64],
    views: NDArray[np.int64],
    spec: ViewSpec,
    normalisation: tuple[Channels, Channels] | None,
) -> torch.Tensor:
    """The teacher on view `views[i]` of stored image `positions[i]`: unit-norm float32 `[B, D]`."""
    keys = np.array([image_key(source.paths[r]) for r in source.rows[positions]], dtype=np.uint64)
    parameters = torch.from_numpy(view_parameters(spec, keys, views)).to(teacher.device)
    images = torch.from_numpy(source.pixels[positions]).to(teacher.device).permute(0, 3, 1, 2)
    mean, std = normalisation or (None, None)
    return teacher.encode_images(render_views(images, parameters, teacher.size), mean, std)


def build_view_cache(
    root: Path,
    teacher: Teacher,
    source: ViewSource,
    spec: ViewSpec,
    count: int,
    *,
    normalisation: tuple[Channels, Channels] | None = None,
    batch: int = 128,
    report: Report = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
) -> ViewCache:
    """Open the cache under `root`, first computing what is missing for `source.rows`.

    Args:
        count: views per image.
        normalisation: mean and std to feed the teacher instead of its own.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when another process is at this cache and must be waited for.

    Raises:
        EdgeDistillError: the folder cannot be written, or its files have the wrong size.
    """
    width = _width(teacher)
    header = {
        "teacher": teacher.name,
        "weights": teacher.fingerprint,
        "teacher_size": teacher.size,
        "normalisation": normalisation or (teacher.mean, teacher.std),
        "views": asdict(spec),
        "view_code": VERSION,
        "store_size": int(source.pixels.shape[1]),
        "images": len(source.paths),
        "count": count,
        "width": width,
        "paths": hashlib.blake2b(os.fsencode("\n".join(source.paths)), digest_size=16).hexdigest(),
    }
    text = json.dumps(header, sort_keys=True)
    folder = root / hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    shape = (len(source.paths), count, width)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock", waiting):
            vectors = _file(folder / "embeddings.f16", 2 * math.prod(shape))
            marks = _file(folder / "pixels.u64", 8 * shape[0])
            if not (folder / "header.json").exists():
                write_json(folder / "header.json", header)
            current = _pixel_hashes(source.pixels)
            todo = np.flatnonzero(np.fromfile(marks, np.uint64)[source.rows] != current)
            per_batch = max(1, batch // count)
            with (
                open(vectors, "r+b", buffering=0) as vector_file,
                open(marks, "r+b", buffering=0) as mark_file,
                _Writer(vector_file, mark_file, 2 * count * width) as writer,
            ):
                for start in range(0, len(todo), per_batch):
                    part = todo[start : start + per_batch]
                    # Always a full batch: the rounding of matrix products depends on its size, and
                    # an interrupted build must end with the numbers of an uninterrupted one.
                    padded = np.resize(part, per_batch)
                    positions, views = (
                        np.repeat(padded, count),
                        np.tile(np.arange(count), per_batch),
                    )
                    found = embed_views(teacher, source, positions, views, spec, normalisation)
                    rows = found.to("cpu", torch.float16).numpy().reshape(per_batch, -1)
                    writer.add(source.rows[part], rows, current[part])
                    report(start + len(part), len(todo))
    except OSError as error:
        raise EdgeDistillError(
            f"{folder}: cannot write the view cache: {error.strerror or error}; free some space "
            "or set EDGEDISTILL_CACHE to another folder"
        ) from error
    return ViewCache(folder, np.memmap(vectors, dtype=np.float16, mode="r", shape=shape))


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Writer:
    """Writes rows of a cache and, once the disk has them, the marks that make them count.

    It writes to the files and not to mapped memory: a full disk is then an error, where writing
    to a mapped hole in a file would end the process without a word.
    """

    def __init__(self, vectors: io.FileIO, marks: io.FileIO, row_bytes: int) -> None:
        self._vectors = vectors
        self._marks = marks
        self._row_bytes = row_bytes
        self._pending: list[tuple[int, int]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self._commit()

    def add(
        self, rows: NDArray[np.int64], values: NDArray[np.float16], hashes: NDArray[np.uint64]
    ) -> None:
        for row, value, mark in zip(rows.tolist(), values, hashes.tolist(), strict=False):
            _write_at(self._marks, 8 * row, bytes(8))
            _write_at(self._vectors, self._row_bytes * row, value.tobytes())
            self._pending.append((row, mark))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._commit()

    def _commit(self) -> None:
        os.fsync(self._vectors.fileno())
        for row, mark in self._pending:
            _write_at(self._marks, 8 * row, mark.to_bytes(8, sys.byteorder))
        os.fsync(self._marks.fileno())
        self._pending, self._flushed = [], time.monotonic()


def _write_at(file: io.FileIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    written = 0
    while written < len(data):
        written += file.write(data[written:])


def _file(path: Path, size: int) -> Path:
    """A file of zeros of this size, or the one that is there."""
    if not path.exists():
        # Made beside and renamed: a kill in between leaves no file of a wrong size.
        with replacing(path) as temporary, open(temporary, "wb") as file:
            file.truncate(size)
    elif path.stat().st_size != size:
        raise EdgeDistillError(
            f"{path}: has {path.stat().st_size} bytes instead of {size}; delete {path.parent} to "
            "build it again"
        )
    return path


def _pixel_hashes(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels]
    found = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return np.maximum(found, 1)


def _width(teacher: Teacher) -> int:
    return int(teacher.encode_texts(["a"]).shape[1])
