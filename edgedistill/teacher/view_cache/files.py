"""Files of the teacher's embeddings: layout, atomic writing, checking and repair. Needs no torch.

A cache is a folder named by the hash of its header, so the header vouches for the folder and the
folder for the header. Inside:

    header.json      everything the embeddings depend on apart from the pixels
    embeddings.f16   [images, views, D], sparse on disk until filled; of plain images, which have
                     one vector each, embeddings.f32
    blocks/N.u64     uint64 [rows, 2], an entry per row of block N: the hash of the pixels that it
                     was computed from (0: not computed), and a checksum of that hash and its bytes
    locks/           who creates the files, and who fills which block

A row counts only if its pixel hash is still that of the image. The file of a block is replaced
atomically: without the entries of rows that are about to be overwritten, and with the new entries
once the disk has the rows. So neither a changed image nor a killed build leaves a wrong embedding
behind. Each block is filled under a lock of its own: any number of processes build one cache
together.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill._utils.atomic import clear_temporary, replacing, write_bytes, write_json
from edgedistill._utils.locks import is_locked, lock
from edgedistill.errors import CacheError, DamagedCacheError

# Part of the header: raise it when the files are laid out in another way.
FORMAT = 3
HEADER = "header.json"
BLOCKS = "blocks"
ADVICE = "free some space or set EDGEDISTILL_CACHE to another folder"
# Rows that a process claims at once: seconds of a GPU's work, minutes of a laptop's.
BLOCK = 512
# How much finished work a killed build may lose, beside the batch that it was at.
FLUSH_SECONDS = 2.0

# In the type of the cache.
Embeddings = NDArray[np.floating[Any]]
# Rows of the cache [n], their embeddings [n, views * D], the hashes of their pixels [n].
Batch = tuple[NDArray[np.int64], Embeddings, NDArray[np.uint64]]


@dataclass(frozen=True)
class CacheFiles:
    """Folder, shape and type of a cache; `count` is 1 for the embeddings of plain images."""

    folder: Path
    images: int
    count: int
    width: int
    dtype: np.dtype[np.floating[Any]]

    @property
    def embeddings_file(self) -> Path:
        """Path of the embeddings."""
        return self.folder / f"embeddings.f{8 * self.dtype.itemsize}"

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's embeddings."""
        return self.dtype.itemsize * self.count * self.width

    def embeddings(self) -> Embeddings:
        """`[images, views, D]`, mapped read-only."""
        shape = (self.images, self.count, self.width)
        return np.memmap(self.embeddings_file, dtype=self.dtype, mode="r", shape=shape)

    def pixel_hashes(self) -> NDArray[np.uint64]:
        """The pixel hash of every row, `[images]`; 0 where a row is not computed."""
        return self.entries()[:, 0]

    def entries(self) -> NDArray[np.uint64]:
        """Pixel hash and checksum of every row, `[images, 2]`.

        Raises:
            ValueError: the file of a block was cut short.
        """
        blocks = range(-(-self.images // BLOCK))
        return np.concatenate([self.block_entries(block) for block in blocks])

    def block_entries(self, block: int) -> NDArray[np.uint64]:
        """Pixel hash and checksum of every row of a block, `[rows, 2]`. Raises as `entries`."""
        shape = (min(BLOCK, self.images - block * BLOCK), 2)
        path = self.block_file(block)
        if not path.exists():
            return np.zeros(shape, np.uint64)
        content = path.read_bytes()
        _check_size(path, len(content), 16 * shape[0])
        entries = np.frombuffer(content, np.uint64)
        return entries.reshape(shape).copy()

    def block_file(self, block: int) -> Path:
        """Path of a block's entries; it exists once rows of the block are computed."""
        return self.folder / BLOCKS / f"{block}.u64"

    def lock_file(self, name: int | str) -> Path:
        """Path of the lock of a block, or of `open`."""
        return self.folder / "locks" / str(name)


def locate(root: Path, header: Mapping[str, Any]) -> CacheFiles:
    """The cache of a header under `root`; nothing is read or created."""
    return CacheFiles(
        root / folder_name(header),
        images=header["images"],
        count=header["count"] or 1,
        width=header["width"],
        dtype=np.dtype(header.get("dtype", "float16")),
    )


def folder_name(header: Mapping[str, Any]) -> str:
    """20 hex digits that stand for the whole header."""
    text = json.dumps(header, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def open_files(root: Path, header: Mapping[str, Any]) -> CacheFiles:
    """The cache of a header, created empty where it does not exist.

    Raises:
        DamagedCacheError: it exists, and `validate` finds fault with it.
        CacheError: its lock cannot be taken.
        OutputError, OSError: the folder cannot be written.
    """
    files = locate(root, header)
    folder = files.folder
    for name in ("locks", BLOCKS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with lock(files.lock_file("open"), CacheError, ADVICE):
        clear_temporary(folder)
        if not any(path.exists() for path in (folder / HEADER, files.embeddings_file)):
            # First of all, so that no kill leaves numbers without their description.
            write_json(folder / HEADER, header)
        if not files.embeddings_file.exists() and not any((folder / BLOCKS).glob("*.u64")):
            with replacing(files.embeddings_file) as temporary, open(temporary, "wb") as file:
                file.truncate(files.images * files.row_bytes)
    fault = validate(files)
    if fault is not None:
        raise DamagedCacheError(f"teacher cache: {fault}", folder.name)
    return files


def read_header(folder: Path) -> dict[str, Any] | None:
    """The header of a cache; None if it is missing, or is not the one that named the folder."""
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        intact = folder_name(header) == folder.name
    except (OSError, ValueError, TypeError):
        return None
    return header if intact else None


def validate(files: CacheFiles) -> str | None:
    """Fault of the header, of a file's size or of a block's file, with its path; None if none."""
    if read_header(files.folder) is None:
        return f"{files.folder / HEADER}: was edited, cut short or deleted"
    path = files.embeddings_file
    if not path.exists():
        return f"{path}: is missing"
    try:
        _check_size(path, path.stat().st_size, files.images * files.row_bytes)
        files.entries()
    except ValueError as error:
        return str(error)
    return None


def damaged_rows(files: CacheFiles, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some rows whose bytes are not what was written. Rows not computed yet are fine."""
    entries, embeddings = files.entries(), files.embeddings()
    computed = np.sort(rows[entries[rows, 0] != 0])
    damaged = [
        row
        for row in computed.tolist()
        if int(entries[row, 1]) != _checksum(entries[row, 0], embeddings[row])
    ]
    return np.array(damaged, dtype=np.int64)


def invalidate(files: CacheFiles, rows: NDArray[np.int64]) -> None:
    """Make some rows count as not computed."""
    for block in np.unique(rows // BLOCK).tolist():
        with lock(files.lock_file(block), CacheError, ADVICE):
            entries = files.block_entries(block)
            entries[rows[rows // BLOCK == block] % BLOCK] = 0
            _write_entries(files, block, entries)


def in_use(folder: Path) -> bool:
    """Whether a process is creating or filling this cache at this moment."""
    return any(is_locked(path) for path in (folder / "locks").glob("*"))


def fill(
    files: CacheFiles,
    rows: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    compute: Callable[[NDArray[np.int64]], Embeddings],
    per_batch: int,
    *,
    report: Callable[[int, int], None],
    waiting: Callable[[], None],
) -> None:
    """Compute the rows that do not count yet, sharing the work with other processes.

    Args:
        rows: int64 `[n]`, the rows wanted.
        hashes: uint64 `[n]`, the hashes of their pixels.
        compute: positions in `rows`, at most `per_batch`, to their embeddings `[k, views * D]`.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when only blocks are left that other processes work on.
    """
    absent = np.flatnonzero(files.pixel_hashes()[rows] != hashes)
    absent = absent[np.argsort(rows[absent], kind="stable")]
    numbers, starts = np.unique(rows[absent] // BLOCK, return_index=True)
    blocks = dict(zip(numbers.tolist(), np.split(absent, starts)[1:], strict=True))
    done = 0

    def batches(positions: NDArray[np.int64]) -> Iterable[Batch]:
        nonlocal done
        for start in range(0, len(positions), per_batch):
            part = positions[start : start + per_batch]
            yield rows[part], compute(part), hashes[part]
            done += len(part)
            report(done, len(absent))

    def fill_block(block: int, *, wait: bool) -> bool:
        nonlocal done
        with lock(files.lock_file(block), CacheError, ADVICE, wait=wait) as held:
            if held:
                positions = blocks[block]
                # Another process may have filled some since.
                present = files.block_entries(block)[rows[positions] % BLOCK, 0]
                missing = positions[present != hashes[positions]]
                done += len(positions) - len(missing)
                if len(missing):
                    _write_rows(files, block, rows[missing], batches(missing))
            return held

    of_others = [block for block in blocks if not fill_block(block, wait=False)]
    if of_others:
        waiting()
    for block in of_others:
        fill_block(block, wait=True)


def _write_rows(
    files: CacheFiles, block: int, rows: NDArray[np.int64], batches: Iterable[Batch]
) -> None:
    """Write batches of some rows of a block, whose lock the caller holds.

    Writes to the file and not to mapped memory: a full disk is then an error, where writing to a
    mapped hole in a file would end the process without a word.
    """
    clear_temporary(files.folder / BLOCKS, stem=str(block))
    entries = files.block_entries(block)
    if entries[rows % BLOCK].any():
        entries[rows % BLOCK] = 0
        _write_entries(files, block, entries)
    pending = entries.copy()
    flushed = time.monotonic()
    with open(files.embeddings_file, "r+b") as file:

        def commit() -> None:
            file.flush()
            os.fsync(file.fileno())
            _write_entries(files, block, pending)

        try:
            for batch_rows, values, hashes in batches:
                for row, value, pixel_hash in zip(batch_rows.tolist(), values, hashes, strict=True):
                    file.seek(files.row_bytes * row)
                    file.write(value.tobytes())
                    pending[row % BLOCK] = pixel_hash, _checksum(pixel_hash, value)
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    commit()
                    flushed = time.monotonic()
        finally:
            commit()


def _write_entries(files: CacheFiles, block: int, entries: NDArray[np.uint64]) -> None:
    write_bytes(files.block_file(block), entries.tobytes())


def _check_size(path: Path, size: int, expected: int) -> None:
    if size != expected:
        raise ValueError(f"{path}: has {size} bytes instead of {expected}")


def _checksum(pixel_hash: np.uint64, values: Embeddings) -> int:
    # With the hash, so that a row can never pass for one of other pixels.
    salt = int(pixel_hash).to_bytes(8, sys.byteorder)
    digest = hashlib.blake2b(values.tobytes(), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, sys.byteorder)
