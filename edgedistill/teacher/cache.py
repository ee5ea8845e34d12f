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
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray

from edgedistill.atomic import write_json
from edgedistill.data.normalise import Channels
from edgedistill.data.views import VERSION, ViewSpec, image_key, render_views, view_parameters
from edgedistill.errors import EdgeDistillError
from edgedistill.teacher.clip import Teacher

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class ViewCache:
    """Teacher embeddings of views.

    Attributes:
        folder: where it lies.
        embeddings: float16 memmap `[images, views, D]`; rows not asked for may be empty.
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
) -> ViewCache:
    """Open the cache under `root`, first computing what is missing for `source.rows`.

    Args:
        count: views per image.
        normalisation: mean and std to feed the teacher instead of its own.
        report: called with (rows done, rows to do) as it goes.

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
        "paths": hashlib.blake2b("\n".join(source.paths).encode(), digest_size=16).hexdigest(),
    }
    text = json.dumps(header, sort_keys=True)
    folder = root / hashlib.blake2b(text.encode(), digest_size=10).hexdigest()
    shape = (len(source.paths), count, width)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            embeddings = _open(folder / "embeddings.f16", np.dtype(np.float16), shape)
            hashes = _open(folder / "pixels.u64", np.dtype(np.uint64), shape[:1])
            if not (folder / "header.json").exists():
                write_json(folder / "header.json", header)
            current = _pixel_hashes(source.pixels)
            todo = np.flatnonzero(hashes[source.rows] != current)
            per_batch = max(1, batch // count)
            for start in range(0, len(todo), per_batch):
                part = todo[start : start + per_batch]
                positions = np.repeat(part, count)
                views = np.tile(np.arange(count), len(part))
                found = embed_views(teacher, source, positions, views, spec, normalisation)
                rows = source.rows[part]
                hashes[rows] = 0
                embeddings[rows] = found.cpu().numpy().reshape(len(part), count, width)
                # The data reaches the disk before the mark that says it is there.
                if start % (64 * per_batch) == 0 or start + per_batch >= len(todo):
                    embeddings.flush()
                hashes[rows] = current[part]
                report(min(start + per_batch, len(todo)), len(todo))
            hashes.flush()
    except OSError as error:
        raise EdgeDistillError(
            f"{folder}: cannot write the view cache: {error.strerror or error}; free some space "
            "or set EDGEDISTILL_CACHE to another folder"
        ) from error
    return ViewCache(folder, embeddings)


def _open(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    size = int(np.prod(shape)) * dtype.itemsize
    if not path.exists():
        with open(path, "wb") as file:
            file.truncate(size)
    elif path.stat().st_size != size:
        raise EdgeDistillError(
            f"{path}: has {path.stat().st_size} bytes instead of {size}; delete {path.parent} to "
            "build it again"
        )
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)


def _pixel_hashes(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels]
    found = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return np.maximum(found, 1)


def _width(teacher: Teacher) -> int:
    return int(teacher.encode_texts(["a"]).shape[1])
