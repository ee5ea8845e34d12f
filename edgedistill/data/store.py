"""Every image decoded and resized once, kept as bytes that a training loop can map.

One folder per (dataset content, size) under `cache_dir()/store/` holds a uint8 array
[images, size, size, 3] per domain and a report of the files that could not be used. The folder
appears complete or not at all (`build_once`), so a kill or a second process cannot spoil it.
"""

import hashlib
import json
import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.build_once import build_once
from edgedistill.data.cache_dir import cache_dir
from edgedistill.data.index import ImageIndex
from edgedistill.data.progress import progress_bar
from edgedistill.errors import EdgeDistillError
from edgedistill.pixels import ImageProblem, read_rgb_noted

# Part of every fingerprint: raise it whenever `read_rgb` gives other pixels for the same file.
VERSION = 1
REPORT_FILE = "report.json"
# Largest selection that is copied to memory: 1 GiB, 7,000 images at 224 px.
RAM_LIMIT = 2**30
_CHUNK = 1024


@dataclass(frozen=True)
class Decoded:
    """Pixels of some rows of an index.

    Attributes:
        images: uint8 [K, size, size, 3] RGB; read-only, mapped from disk when it is large.
        rows: int64 [K], the requested rows whose file could be read, in the requested order.
        problems: one line per file of the requested rows that was dropped or needed a note.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    problems: tuple[str, ...]


class Store:
    """The decoded images of one index at one size.

    Attributes:
        folder: where the arrays lie.
        size: side of the images.
        readable: bool [N], False for rows whose file could not be read.
    """

    def __init__(self, index: ImageIndex, size: int, folder: Path) -> None:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        self.folder = folder
        self.size = size
        self._index = index
        self._problems: dict[int, str] = {int(k): v for k, v in report["problems"].items()}
        self.readable = np.ones(len(index), dtype=bool)
        self.readable[np.array(report["unreadable"], dtype=np.int64)] = False
        self._arrays = [np.load(_array_file(folder, d), mmap_mode="r") for d in _domain_ids(index)]
        self._position = _positions(index)

    def problems(self, rows: NDArray[np.int64] | None = None) -> tuple[str, ...]:
        """`path: what is wrong with it` for the given rows (all rows when None)."""
        wanted = range(len(self._index)) if rows is None else rows.tolist()
        return tuple(
            f"{self._index.paths[row]}: {self._problems[row]}"
            for row in wanted
            if row in self._problems
        )

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy some rows: uint8 [K, size, size, 3]. Unreadable rows are zeros."""
        out = np.empty((len(rows), self.size, self.size, 3), dtype=np.uint8)
        domain, position = self._index.domain[rows], self._position[rows]
        for d in np.unique(domain).tolist():
            here = np.flatnonzero(domain == d)
            # Ascending reads keep a spinning or network disk from seeking back and forth.
            here = here[np.argsort(position[here], kind="stable")]
            out[here] = self._arrays[d][position[here]]
        return out

    def decoded(self, rows: NDArray[np.int64]) -> Decoded:
        """The readable ones of some rows.

        One ascending run of a domain is returned as a view of the mapped file. Any other selection
        is copied: to memory, or above `RAM_LIMIT` bytes to an unnamed mapped file beside the
        store, which the system frees with the array; so memory stays bounded.

        Raises:
            EdgeDistillError: of a class or a domain among the rows, no file can be read.
        """
        kept = rows[self.readable[rows]]
        self._refuse_lost_groups(rows, kept)
        return Decoded(self._view(kept), kept, self.problems(rows))

    def _refuse_lost_groups(self, rows: NDArray[np.int64], kept: NDArray[np.int64]) -> None:
        index = self._index
        for what, names, ids in (
            ("class", index.classes, index.label),
            ("domain", index.domains, index.domain),
        ):
            lost = np.setdiff1d(ids[rows], ids[kept])
            if len(lost):
                inside = rows[ids[rows] == lost[0]]
                raise EdgeDistillError(
                    f"data: none of the {len(inside)} images of {what} "
                    f"{names[int(lost[0])]!r} in {index.root} can be read; the first is "
                    f"{self.problems(inside[:1])[0]}; replace the files or leave the {what} out"
                )

    def _view(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(rows):
            domain = np.unique(self._index.domain[rows])
            position = self._position[rows]
            if len(domain) == 1 and bool(np.all(np.diff(position) == 1)):
                array: NDArray[np.uint8] = self._arrays[int(domain[0])]
                return array[int(position[0]) : int(position[-1]) + 1]
        shape = (len(rows), self.size, self.size, 3)
        if math.prod(shape) <= RAM_LIMIT:
            images = self.gather(rows)
        else:
            with tempfile.TemporaryFile(dir=self.folder.parent) as file:
                for start in range(0, len(rows), _CHUNK):
                    file.write(self.gather(rows[start : start + _CHUNK]).data)
                file.flush()
                images = np.memmap(file, dtype=np.uint8, mode="r+", shape=shape)
        images.flags.writeable = False
        return images


def open_store(
    index: ImageIndex, size: int, cache: Path | None = None, workers: int | None = None
) -> Store:
    """The store of an index at a size, built when it does not exist yet.

    Args:
        index: the images.
        size: side of the decoded images.
        cache: cache folder, None for `cache_dir()`.
        workers: decoding threads, None for one per CPU core.

    Raises:
        EdgeDistillError: the cache cannot be written.
    """
    root = (cache_dir() if cache is None else cache) / "store"
    folder = build_once(
        root / fingerprint(index, size),
        lambda temporary: _build(index, size, temporary, workers or os.cpu_count() or 1),
    )
    return Store(index, size, folder)


def decoded(
    index: ImageIndex,
    rows: NDArray[np.int64],
    size: int,
    cache: Path | None = None,
    workers: int | None = None,
) -> Decoded:
    """`open_store(...).decoded(rows)`: the pixels of some rows of an index."""
    return open_store(index, size, cache, workers).decoded(rows)


def fingerprint(index: ImageIndex, size: int) -> str:
    """32 hex digits over what the pixels depend on: root, paths, file sizes and times, size."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{VERSION}/{size}/{os.fspath(index.root)}".encode(errors="surrogateescape"))
    for path in index.paths:
        try:
            stat = os.stat(index.root / path)
            state = f"{stat.st_size}/{stat.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"\n{path}\0{state}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _domain_ids(index: ImageIndex) -> range:
    return range(len(index.domains))


def _array_file(folder: Path, domain: int) -> Path:
    return folder / f"domain{domain}.npy"


def _positions(index: ImageIndex) -> NDArray[np.int64]:
    """Position of each row in the array of its domain."""
    position = np.empty(len(index), dtype=np.int64)
    for d in _domain_ids(index):
        mask = index.domain == d
        position[mask] = np.arange(int(mask.sum()))
    return position


def _build(index: ImageIndex, size: int, folder: Path, workers: int) -> None:
    problems: dict[int, str] = {}
    unreadable: list[int] = []
    what = f"decoding {len(index)} images at {size} px"
    with progress_bar(what) as progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task(what, total=len(index))
        for d in _domain_ids(index):
            rows = np.flatnonzero(index.domain == d).tolist()
            file = _array_file(folder, d)
            # Written front to back: a full disk is then an error of `write`, where a page of a
            # sparse mapped file that finds no room would kill the process.
            with open(file, "wb") as out:
                shape = (len(rows), size, size, 3)
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                # `map` takes all its input at once; batches bound the memory.
                for start in range(0, len(rows), 32 * workers):
                    batch = rows[start : start + 32 * workers]
                    results = pool.map(lambda row: _decode(index.path(row), size), batch)
                    block = np.zeros((len(batch), size, size, 3), dtype=np.uint8)
                    for at, (row, result) in enumerate(zip(batch, results, strict=True)):
                        image, problem = result
                        if problem is not None:
                            problems[row] = problem
                        if image is None:
                            unreadable.append(row)
                        else:
                            block[at] = image
                        progress.advance(task)
                    out.write(block.data)
            _to_disk(file)
    report = {"problems": problems, "unreadable": unreadable}
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=1), encoding="utf-8")
    _to_disk(folder / REPORT_FILE)


def _decode(path: Path, size: int) -> tuple[NDArray[np.uint8] | None, str | None]:
    try:
        return read_rgb_noted(path, size)
    except ImageProblem as problem:
        return None, f"{problem}; skipped"


def _to_disk(file: Path) -> None:
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
