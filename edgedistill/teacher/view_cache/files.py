"""The files of a view cache: layout, safe writing, checking and repair. Works without torch.

A cache is a folder named by the hash of its header, so the header vouches for the folder and the
folder for the header. Inside:

    header.json     everything the numbers depend on apart from the pixels
    embeddings.f16  [images, views, D], sparse on disk until filled
    pixels.u64      [images], hash of the pixels a row was computed from, 0 where it was not yet
    sums.u64        [images], checksum of that hash and the row's bytes
    locks/          who makes the files, and who fills which block of rows

A row counts only if its pixel hash is still that of the image, so neither a changed image nor a
killed build leaves a wrong embedding behind. Rows are filled in blocks, each under a lock of its
own: any number of processes build one cache together, and the system frees a dead one's lock.
"""

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from edgedistill._utils.atomic import replacing, write_json
from edgedistill.errors import CacheError

# Part of the header: raise it when the files are laid out in another way.
FORMAT = 2
HEADER = "header.json"
VECTORS = "embeddings.f16"
MARKS = "pixels.u64"
SUMS = "sums.u64"
# Rows that a process claims at once: seconds of a GPU's work, minutes of a laptop's.
BLOCK = 512
# How much finished work a killed build may lose, beside the batch that it was at.
FLUSH_SECONDS = 2.0


@dataclass(frozen=True)
class CacheFiles:
    """Where a cache lies, and its shape."""

    folder: Path
    images: int
    count: int
    width: int

    @property
    def row_bytes(self) -> int:
        return 2 * self.count * self.width

    @property
    def sizes(self) -> dict[str, int]:
        """File name -> size in bytes."""
        return {
            VECTORS: self.images * self.row_bytes,
            SUMS: 8 * self.images,
            MARKS: 8 * self.images,
        }

    def vectors(self) -> NDArray[np.float16]:
        """float16 `[images, views, D]`, mapped read-only."""
        shape = (self.images, self.count, self.width)
        return np.memmap(self.folder / VECTORS, dtype=np.float16, mode="r", shape=shape)

    def marks(self) -> NDArray[np.uint64]:
        """The pixel hash of every row, `[images]`."""
        return np.fromfile(self.folder / MARKS, np.uint64)


def locate(root: Path, header: Mapping[str, Any]) -> CacheFiles:
    """Where the cache of a header lies under `root`; nothing is read or made."""
    return CacheFiles(
        root / folder_name(header), header["images"], header["count"], header["width"]
    )


def folder_name(header: Mapping[str, Any]) -> str:
    """20 hex digits that stand for the whole header."""
    text = json.dumps(header, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def open_files(root: Path, header: Mapping[str, Any]) -> CacheFiles:
    """The cache of a header, made empty where it does not exist.

    Raises:
        EdgeDistillError: it exists, and `complaint` finds fault with it.
        OSError: the folder cannot be written.
    """
    files = locate(root, header)
    folder = files.folder
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "locks" / "open"):
        # Whoever makes files here holds this lock: these are of processes that were killed.
        for left in folder.glob(".*.tmp*"):
            with suppress(OSError):
                left.unlink()
        if not any((folder / name).exists() for name in (HEADER, *files.sizes)):
            # First of all, so that no kill leaves numbers without their description.
            write_json(folder / HEADER, header)
        if (folder / HEADER).exists() and not (folder / MARKS).exists():
            # The marks come last: where they are missing no row counts yet.
            for name, size in files.sizes.items():
                with replacing(folder / name) as temporary, open(temporary, "wb") as file:
                    file.truncate(size)
    found = validate(files)
    if found is not None:
        raise CacheError(
            f"view cache: {found}; remove it with: edgedistill cache clear {folder.name}"
        )
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
    """What is wrong with the header or a file's size, with its path; None if nothing is."""
    if read_header(files.folder) is None:
        return f"{files.folder / HEADER}: was edited, cut short or deleted"
    for name, size in files.sizes.items():
        path = files.folder / name
        if not path.exists():
            return f"{path}: is missing"
        if path.stat().st_size != size:
            return f"{path}: has {path.stat().st_size} bytes instead of {size}"
    return None


def damaged_rows(files: CacheFiles, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of some rows whose bytes are not what was written. Rows not computed yet are fine."""
    marks = files.marks()
    sums = np.fromfile(files.folder / SUMS, np.uint64)
    found = []
    with open(files.folder / VECTORS, "rb") as file:
        for row in np.sort(rows).tolist():
            if marks[row]:
                file.seek(files.row_bytes * row)
                value = file.read(files.row_bytes)
                if int(sums[row]) != _checksum(int(marks[row]), value):
                    found.append(row)
    return np.array(found, dtype=np.int64)


def invalidate(files: CacheFiles, rows: NDArray[np.int64]) -> None:
    """Make some rows count as not computed."""
    with open(files.folder / MARKS, "r+b", buffering=0) as file:
        for row in rows.tolist():
            _write_at(file, 8 * row, bytes(8))
        os.fsync(file.fileno())


@contextmanager
def claimed(files: CacheFiles, block: int, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a block of rows; yields False when another process has it."""
    lock = FileLock(files.folder / "locks" / str(block))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process is making or filling this cache at this moment."""
    for path in (folder / "locks").glob("*"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
    return False


class Writer:
    """Writes rows and, once the disk has them, the marks that make them count.

    It writes to the files and not to mapped memory: a full disk is then an error, where writing
    to a mapped hole in a file would end the process without a word.
    """

    def __init__(self, files: CacheFiles) -> None:
        self._files = files
        self._pending: list[tuple[int, int]] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> "Writer":
        folder = self._files.folder
        self._vectors = open(folder / VECTORS, "r+b", buffering=0)
        self._sums = open(folder / SUMS, "r+b", buffering=0)
        self._marks = open(folder / MARKS, "r+b", buffering=0)
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._vectors, self._sums, self._marks):
            file.close()

    def add(
        self, rows: NDArray[np.int64], values: NDArray[np.float16], hashes: NDArray[np.uint64]
    ) -> None:
        """Rows `[n]`, their embeddings `[n, views * D]` and the hashes of their pixels `[n]`."""
        for row, value, mark in zip(rows.tolist(), values, hashes.tolist(), strict=True):
            data = value.tobytes()
            _write_at(self._marks, 8 * row, bytes(8))
            _write_at(self._vectors, self._files.row_bytes * row, data)
            _write_at(self._sums, 8 * row, _bytes(_checksum(mark, data)))
            self._pending.append((row, mark))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make what was added count, whatever happens to this process or the power from here."""
        if self._pending:
            os.fsync(self._vectors.fileno())
            os.fsync(self._sums.fileno())
            for row, mark in self._pending:
                _write_at(self._marks, 8 * row, _bytes(mark))
            os.fsync(self._marks.fileno())
        self._pending, self._flushed = [], time.monotonic()


def fill(
    files: CacheFiles,
    rows: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    compute: Callable[[NDArray[np.int64]], NDArray[np.float16]],
    per_batch: int,
    *,
    report: Callable[[int, int], None],
    waiting: Callable[[], None],
) -> None:
    """Compute the rows that do not count yet, sharing the work with whoever else does the same.

    Args:
        rows: int64 `[n]`, the rows wanted.
        hashes: uint64 `[n]`, what their marks should be.
        compute: positions in `rows`, at most `per_batch`, to their embeddings `[k, views * D]`.
        report: called with (rows done, rows to do) as it goes.
        waiting: called when only blocks are left that other processes work on.
    """
    absent = np.flatnonzero(files.marks()[rows] != hashes)
    absent = absent[np.argsort(rows[absent], kind="stable")]
    _, starts = np.unique(rows[absent] // BLOCK, return_index=True)
    blocks = np.split(absent, starts[1:]) if len(absent) else []
    done = 0

    def work(writer: Writer, block: NDArray[np.int64]) -> None:
        nonlocal done
        # Another process may have filled some since.
        todo = block[files.marks()[rows[block]] != hashes[block]]
        done += len(block) - len(todo)
        try:
            for start in range(0, len(todo), per_batch):
                part = todo[start : start + per_batch]
                writer.add(rows[part], compute(part), hashes[part])
                done += len(part)
                report(done, len(absent))
        finally:
            writer.commit()

    with Writer(files) as writer:
        left = []
        for block in blocks:
            with claimed(files, int(rows[block[0]]) // BLOCK, wait=False) as mine:
                if mine:
                    work(writer, block)
                else:
                    left.append(block)
        if left:
            waiting()
        for block in left:
            with claimed(files, int(rows[block[0]]) // BLOCK, wait=True):
                work(writer, block)


def _checksum(mark: int, row: bytes) -> int:
    # The mark goes in, so that a row can never pass for one of other pixels.
    digest = hashlib.blake2b(row, digest_size=8, salt=_bytes(mark)).digest()
    return int.from_bytes(digest, sys.byteorder)


def _bytes(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)


def _write_at(file: io.FileIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    written = 0
    while written < len(data):
        written += file.write(data[written:])
