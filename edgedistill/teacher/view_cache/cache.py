"""The teacher's embeddings of views, computed once and shared by every run over the same data.

The header and the computation of rows; `edgedistill.teacher.view_cache.files` has the layout on
the disk, and why neither a kill nor a second process spoils it.
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

from edgedistill.data.images import ImageSet
from edgedistill.data.mixing import draw_mixing, mixed_hashes
from edgedistill.data.normalization import Channels
from edgedistill.data.views import VERSION, ViewBatch, ViewSpec, draw_views
from edgedistill.errors import CacheError, WeightsError
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.files import CacheFiles

Report = Callable[[int, int], None]
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class ViewCache:
    """Teacher embeddings of views.

    Attributes:
        folder: its folder.
        embeddings: float16 memmap `[images, views, D]`, read-only; rows not asked for may be empty.
    """

    folder: Path
    embeddings: NDArray[np.float16]

    def lookup(self, images: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings `[B, D]` of view `views[i]` of image `images[i]`, float32, about unit norm."""
        return np.asarray(self.embeddings[images, views], dtype=np.float32)


def embed_views(
    teacher: Teacher,
    images: ImageSet,
    positions: NDArray[np.int64],
    views: NDArray[np.int64],
    spec: ViewSpec,
    normalization: tuple[Channels, Channels] | None,
    batch: int = 128,
) -> torch.Tensor:
    """Teacher embeddings of view `views[i]` of stored image `positions[i]`.

    Args:
        positions, views: int64 `[B]`.
        spec: parameters that the views are drawn from.
        normalization: mean and std to feed the teacher instead of its own.
        batch: views in one forward pass, at most.

    Returns:
        float32 `[B, D]` on the teacher's device, unit norm.
    """
    mean, std = normalization or (None, None)
    parts = []
    for start in range(0, len(views), batch):
        # Several views of an image need its pixels once.
        unique, repeats = np.unique(positions[start : start + batch], return_inverse=True)
        paths = (images.paths[row] for row in images.rows[unique][repeats])
        parameters = draw_views(spec, paths, views[start : start + batch])
        pixels = torch.from_numpy(images[unique]).to(teacher.device)
        view_batch = ViewBatch(
            pixels[torch.from_numpy(repeats).to(teacher.device)],
            torch.from_numpy(parameters).to(teacher.device),
            draw_mixing(
                spec,
                images,
                positions[start : start + batch],
                views[start : start + batch],
                lambda array: torch.from_numpy(array).to(teacher.device),
            ),
        )
        parts.append(teacher.encode_images(view_batch.render(teacher.size), mean, std))
    return torch.cat(parts)


def cache_header(
    teacher: Teacher,
    paths: tuple[str, ...],
    store_size: int,
    spec: ViewSpec,
    count: int,
    normalization: tuple[Channels, Channels] | None,
    batch: int,
    rows: NDArray[np.int64] = _NONE,
) -> dict[str, Any]:
    """Everything the embeddings depend on, apart from the pixels; it names the cache's folder.

    Args:
        paths: all images of the dataset, in index order.
        store_size: side of the stored images that views are cut from.
        count: views per image.
        normalization: mean and std to feed the teacher instead of its own.
        batch: views that the teacher embeds at once, at most.
        rows: the images that views are mixed with, where they are.
    """
    return {
        "format": cache_files.FORMAT,
        "teacher": teacher.name,
        "weights": teacher.fingerprint,
        "teacher_size": teacher.size,
        "normalization": normalization or (teacher.mean, teacher.std),
        "views": {name: value for name, value in asdict(spec).items() if name != "mix" or value},
        "view_code": VERSION,
        "store_size": store_size,
        "images": len(paths),
        "count": count,
        # The rounding of matrix products depends on their size.
        "batch": min(batch, count * _images_at_once(batch, count)),
        "width": teacher.width,
        "paths": hash_paths(paths),
        # A mixed view depends on which images there are to mix with.
        **({"mixed_with": hash_rows(rows)} if spec.mix else {}),
    }


def hash_paths(paths: tuple[str, ...]) -> str:
    """Hash of a list of images, hex; it names them and their order."""
    return hashlib.blake2b(os.fsencode("\n".join(paths)), digest_size=16).hexdigest()


def hash_rows(rows: NDArray[np.int64]) -> str:
    """Hash of rows and their order, hex."""
    return hashlib.blake2b(rows.astype("<i8").tobytes(), digest_size=16).hexdigest()


def build_view_cache(
    root: Path,
    teacher: Teacher,
    images: ImageSet,
    spec: ViewSpec,
    count: int,
    *,
    normalization: tuple[Channels, Channels] | None = None,
    batch: int = 128,
    report: Report = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
) -> ViewCache:
    """Open the cache under `root`, first computing what is missing for `images.rows`.

    Processes that call this at once, ranks of one run or runs of their own, share the work.

    Args:
        count: views per image.
        normalization: mean and std to feed the teacher instead of its own.
        batch: views that the teacher embeds at once, at most.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when only rows are left that other processes are at.

    Raises:
        CacheError: the folder cannot be written, its files were edited, cut short or deleted in
            part, or an embedding is not finite.
        OutputError: the disk is full.
    """
    store_size = images.size
    header = cache_header(
        teacher, images.paths, store_size, spec, count, normalization, batch, images.rows
    )
    per_batch = _images_at_once(batch, count)

    def embed(part: NDArray[np.int64]) -> torch.Tensor:
        positions, views = np.repeat(part, count), np.tile(np.arange(count), per_batch)
        return embed_views(teacher, images, positions, views, spec, normalization, batch)

    hashes = images.hashes()
    if spec.mix:
        hashes = mixed_hashes(spec, images, hashes, count)
    files = fill_cache(root, header, teacher, images, embed, per_batch, report, waiting, hashes)
    return ViewCache(files.folder, files.embeddings())


def fill_cache(
    root: Path,
    header: dict[str, Any],
    teacher: Teacher,
    images: ImageSet,
    embed: Callable[[NDArray[np.int64]], torch.Tensor],
    per_batch: int,
    report: Report,
    waiting: Callable[[], None],
    hashes: NDArray[np.uint64] | None = None,
) -> CacheFiles:
    """The files of a header's cache, after computing what is missing for `images.rows`.

    Args:
        embed: exactly `per_batch` positions in `images` to their embeddings, image by image.
        hashes: of the pixels that each image's embeddings depend on, uint64 `[N]`; None for those
            of the images themselves.

    Raises as `build_view_cache`.
    """

    def compute(part: NDArray[np.int64]) -> cache_files.Embeddings:
        # Always a full batch: an interrupted build must end with the numbers of an uninterrupted
        # one.
        embeddings = embed(np.resize(part, per_batch)).cpu().numpy().astype(files.dtype)
        values = embeddings.reshape(per_batch, -1)[: len(part)]
        _refuse_not_finite(teacher, images, part, values)
        return values

    try:
        files = cache_files.open_files(root, header)
        hashes = images.hashes() if hashes is None else hashes
        # Rows of other pixels are about to be replaced, perhaps by another process right now.
        _refuse_damage(files, images, images.rows[files.pixel_hashes()[images.rows] == hashes])
        cache_files.fill(
            files, images.rows, hashes, compute, per_batch, report=report, waiting=waiting
        )
        return files
    except OSError as error:
        folder = cache_files.locate(root, header).folder
        raise CacheError(
            f"{folder}: cannot write the teacher's embeddings: {error.strerror or error}; "
            f"{cache_files.ADVICE}"
        ) from error


def _images_at_once(batch: int, count: int) -> int:
    return max(1, batch // count)


def _refuse_damage(files: CacheFiles, images: ImageSet, rows: NDArray[np.int64]) -> None:
    damaged = cache_files.damaged_rows(files, rows)
    if len(damaged):
        raise CacheError(
            f"teacher cache: {files.embeddings_file}: the embeddings of "
            f"{len(damaged)} images are not what was computed, first {images.paths[damaged[0]]}; "
            "compute them again with: edgedistill cache verify RECIPE --repair, or remove them, as "
            f"those of a pretraining, with: edgedistill cache clear {files.folder.name}"
        )


def _refuse_not_finite(
    teacher: Teacher, images: ImageSet, part: NDArray[np.int64], values: cache_files.Embeddings
) -> None:
    not_finite = np.flatnonzero(~np.isfinite(values).all(1))
    if len(not_finite):
        path = images.paths[images.rows[part[not_finite[0]]]]
        raise WeightsError(
            f"teacher {teacher.name}: its embedding of {path} is not finite; check its weights"
        )
