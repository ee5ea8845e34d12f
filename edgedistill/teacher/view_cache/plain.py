"""The teacher's embeddings of plain images, whole and not augmented, computed once for all runs.

They lie in files of the same kind as those of views (`edgedistill.teacher.view_cache.files`), under
a header with a count of 0 views, and in float32: what a classifier of them measures is then what
the teacher itself would answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.images import ImageSet
from edgedistill.data.pixels import to_chw_float
from edgedistill.data.store.image_store import Store
from edgedistill.teacher.base import Teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.cache import Report, fill_cache, hash_paths
from edgedistill.teacher.view_cache.files import CacheFiles
from edgedistill.teacher.view_cache.settings import cosine_distance, spread_rows

BATCH = 128


@dataclass(frozen=True)
class PlainCache:
    """Teacher embeddings of plain images.

    Attributes:
        folder: its folder.
        embeddings: float32 memmap `[images, 1, D]`, read-only; rows not asked for may be empty.
    """

    folder: Path
    embeddings: cache_files.Embeddings

    def lookup(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings `[B, D]` of some rows of the index, float32, unit norm."""
        return np.asarray(self.embeddings[rows, 0], dtype=np.float32)


def plain_embeddings(
    teacher: Teacher,
    images: ImageSet,
    *,
    batch: int = BATCH,
    name: str = "teacher on plain images",
) -> NDArray[np.float32]:
    """Teacher embeddings of whole images of the teacher's size, from the cache where they are.

    Args:
        images: stored images at `teacher.size`; others of the same dataset may be in the cache, or
            be added later.
        batch: images that the teacher embeds at once, at most.
        name: of the progress that is reported to `callbacks.current()`.

    Returns:
        float32 `[N, D]`, unit norm, in the order of `images`.

    Raises as `build_plain_cache`.
    """
    return open_plain_cache(teacher, images, batch=batch, name=name).lookup(images.rows)


def open_plain_cache(
    teacher: Teacher,
    images: ImageSet,
    *,
    batch: int = BATCH,
    name: str = "teacher on plain images",
) -> PlainCache:
    """`build_plain_cache` below the user's cache folder, with progress; see `plain_embeddings`."""
    callback = callbacks.current()
    with callback.progress(name, "images") as report:
        return build_plain_cache(
            _root(),
            teacher,
            images,
            batch=batch,
            report=report,
            waiting=lambda: callback.on_note(
                "another process asks the teacher about the rest; waiting for it"
            ),
        )


def build_plain_cache(
    root: Path,
    teacher: Teacher,
    images: ImageSet,
    *,
    batch: int = BATCH,
    report: Report = lambda done, total: None,
    waiting: Callable[[], None] = lambda: None,
) -> PlainCache:
    """Open the cache under `root`, first computing what is missing for `images.rows`.

    Processes that call this at once share the work.

    Args:
        images: stored images at `teacher.size`.
        batch: images that the teacher embeds at once, at most.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when only rows are left that other processes are at.

    Raises:
        CacheError: the folder cannot be written, its files were edited, cut short or deleted in
            part.
        WeightsError: an embedding is not finite.
        OutputError: the disk is full.
        ValueError: the images are of another size than the teacher's.
    """
    if images.size != teacher.size:
        raise ValueError(f"images of {images.size} px for a teacher of {teacher.size} px")
    header = plain_header(teacher, images.paths, batch)
    files = fill_cache(
        root,
        header,
        teacher,
        images,
        lambda positions: embed_images(teacher, images[positions]),
        header["batch"],
        report,
        waiting,
    )
    return PlainCache(files.folder, files.embeddings())


def plain_header(teacher: Teacher, paths: tuple[str, ...], batch: int) -> dict[str, Any]:
    """Everything the embeddings depend on, apart from the pixels; it names the cache's folder.

    Args:
        paths: all images of the dataset, in index order.
        batch: images that the teacher embeds at once, at most.
    """
    return {
        "format": cache_files.FORMAT,
        "teacher": teacher.name,
        "weights": teacher.fingerprint,
        "teacher_size": teacher.size,
        "normalization": (teacher.mean, teacher.std),
        "images": len(paths),
        "count": 0,
        "dtype": "float32",
        # The rounding of matrix products depends on their size.
        "batch": batch,
        "width": teacher.width,
        "paths": hash_paths(paths),
    }


def embed_images(teacher: Teacher, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Teacher embeddings of uint8 `[B, size, size, 3]`: unit-norm float32 `[B, D]`, on its device.

    With the teacher's own normalization.
    """
    # A copy: torch warns of arrays it could write to and must not, as mapped files are.
    on_device = torch.from_numpy(np.array(pixels)).to(teacher.device)
    return teacher.encode_images(to_chw_float(on_device) / 255)


def locate_plain_cache(teacher: Teacher, paths: tuple[str, ...], batch: int) -> CacheFiles:
    """Folder and shape of a cache below the user's cache folder, which may not exist."""
    return cache_files.locate(_root(), plain_header(teacher, paths, batch))


def plain_disagreement(teacher: Teacher, store: Store, files: CacheFiles) -> float:
    """Distance of cached embeddings to the teacher's own, see `settings.disagreement`.

    Args:
        store: the images at `teacher.size`.
    """
    rows = spread_rows(files, store)
    if not len(rows):
        return 0.0
    computed = embed_images(teacher, store.gather(rows)).cpu().numpy()
    return cosine_distance(computed, files.embeddings()[rows, 0])


def _root() -> Path:
    return cache_dir() / "plain"
