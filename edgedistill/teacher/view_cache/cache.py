"""The teacher's embeddings of views, computed once and shared by every run over the same data.

How a cache lies on the disk, and why neither a kill nor a second process can spoil it, is in
`cache_files`; here its header is put together and its rows are computed.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.normalization import Channels
from edgedistill.data.selection import Images, pixel_hashes
from edgedistill.data.views import VERSION, ViewSpec, image_key, render_views, view_parameters
from edgedistill.errors import CacheError
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.files import CacheFiles

Report = Callable[[int, int], None]


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
    pixels: Images
    rows: NDArray[np.int64]


def embed_views(
    teacher: Teacher,
    source: ViewSource,
    positions: NDArray[np.int64],
    views: NDArray[np.int64],
    spec: ViewSpec,
    normalization: tuple[Channels, Channels] | None,
    batch: int = 128,
) -> torch.Tensor:
    """The teacher on view `views[i]` of stored image `positions[i]`: unit-norm float32 `[B, D]`.

    It is shown at most `batch` views at once.
    """
    mean, std = normalization or (None, None)
    parts = []
    for start in range(0, len(views), batch):
        # Several views of an image need its pixels once.
        once, repeats = np.unique(positions[start : start + batch], return_inverse=True)
        paths = [source.paths[row] for row in source.rows[once]]
        keys = np.array([image_key(path) for path in paths], dtype=np.uint64)[repeats]
        drawn = view_parameters(spec, keys, views[start : start + batch])
        parameters = torch.from_numpy(drawn).to(teacher.device)
        stored = torch.from_numpy(source.pixels[once]).to(teacher.device)
        images = stored[torch.from_numpy(repeats).to(teacher.device)].permute(0, 3, 1, 2)
        rendered = render_views(images, parameters, teacher.size)
        parts.append(teacher.encode_images(rendered, mean, std))
    return torch.cat(parts)


def cache_header(
    teacher: Teacher,
    paths: tuple[str, ...],
    store_size: int,
    spec: ViewSpec,
    count: int,
    normalization: tuple[Channels, Channels] | None,
    batch: int,
) -> dict[str, Any]:
    """Everything the embeddings depend on, apart from the pixels; it names the cache's folder.

    Args:
        paths: all images of the dataset, in index order.
        store_size: side of the stored images that views are cut from.
        count: views per image.
        normalisation: mean and std to feed the teacher instead of its own.
        batch: views that the teacher embeds at once, at most.
    """
    return {
        "format": cache_files.FORMAT,
        "teacher": teacher.name,
        "weights": teacher.fingerprint,
        "teacher_size": teacher.size,
        "normalization": normalization or (teacher.mean, teacher.std),
        "views": asdict(spec),
        "view_code": VERSION,
        "store_size": store_size,
        "images": len(paths),
        "count": count,
        # The rounding of matrix products depends on their size.
        "batch": min(batch, count * _images_at_once(batch, count)),
        "width": int(teacher.encode_texts(["a"]).shape[1]),
        "paths": hashlib.blake2b(os.fsencode("\n".join(paths)), digest_size=16).hexdigest(),
    }


def build_view_cache(
    root: Path,
    teacher: Teacher,
    source: ViewSource,
    spec: ViewSpec,
    count: int,
    *,
    normalization: tuple[Channels, Channels] | None = None,
    batch: int = 128,
    report: Report = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
) -> ViewCache:
    """Open the cache under `root`, first computing what is missing for `source.rows`.

    Processes that call this at once, ranks of one run or runs of their own, share the work.

    Args:
        count: views per image.
        normalisation: mean and std to feed the teacher instead of its own.
        batch: views that the teacher embeds at once, at most.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when only rows are left that other processes are at.

    Raises:
        EdgeDistillError: the folder cannot be written, its files were edited, cut short or
            deleted in part, or an embedding is not finite.
    """
    store_size = int(source.pixels.shape[1])
    header = cache_header(teacher, source.paths, store_size, spec, count, normalization, batch)
    folder = cache_files.locate(root, header).folder
    per_batch = _images_at_once(batch, count)

    def compute(part: NDArray[np.int64]) -> NDArray[np.float16]:
        # Always a full batch: an interrupted build must end with the numbers of an uninterrupted
        # one.
        positions = np.repeat(np.resize(part, per_batch), count)
        views = np.tile(np.arange(count), per_batch)
        found = embed_views(teacher, source, positions, views, spec, normalization, batch)
        values = found.to("cpu", torch.float16).numpy().reshape(per_batch, -1)[: len(part)]
        _refuse_not_finite(teacher, source, part, values)
        return values

    try:
        files = cache_files.open_files(root, header)
        hashes = pixel_hashes(source.pixels)
        # Rows of other pixels are about to be replaced, perhaps by another process right now.
        _refuse_damage(files, source, source.rows[files.marks()[source.rows] == hashes])
        cache_files.fill(
            files, source.rows, hashes, compute, per_batch, report=report, waiting=waiting
        )
        return ViewCache(files.folder, files.vectors())
    except OSError as error:
        raise CacheError(
            f"{folder}: cannot write the view cache: {error.strerror or error}; free some space "
            "or set EDGEDISTILL_CACHE to another folder"
        ) from error


def _images_at_once(batch: int, count: int) -> int:
    return max(1, batch // count)


def _refuse_damage(files: CacheFiles, source: ViewSource, rows: NDArray[np.int64]) -> None:
    damaged = cache_files.damaged_rows(files, rows)
    if len(damaged):
        raise CacheError(
            f"view cache: {files.folder / cache_files.VECTORS}: the embeddings of {len(damaged)} "
            f"images are not what was computed, first {source.paths[damaged[0]]}; compute them "
            "again with: edgedistill cache verify RECIPE --repair"
        )


def _refuse_not_finite(
    teacher: Teacher, source: ViewSource, part: NDArray[np.int64], values: NDArray[np.float16]
) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        path = source.paths[source.rows[part[bad[0]]]]
        raise CacheError(
            f"teacher {teacher.name}: its embedding of {path} is not finite; check its weights"
        )
