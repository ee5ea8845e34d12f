"""Store of decoded and resized images, memory-mapped by the training loop.

One folder per (dataset content, size) under `cache_dir()/store/` holds, for each domain, a uint8
array [images, size, size, 3], or above `PACK_ABOVE` bytes in all a packed file of losslessly
compressed images; a hash of every image's pixels; the states of the files; and a report with the
contents and the files that could not be read. The folder appears complete or not at all
(`build_once`), so a kill or a second process cannot spoil it.
"""

import hashlib
import json
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.cache_dir import cache_dir, size_text
from edgedistill._utils.cpus import available_cpus
from edgedistill.data.images import ImageSet, pixel_hash
from edgedistill.data.index import Index
from edgedistill.data.store.build_once import ADVICE, build_once
from edgedistill.data.store.byte_file import ByteFile
from edgedistill.data.store.file_states import (
    file_states,
    hash_ends,
    hash_states,
    replaced_rows,
)
from edgedistill.data.store.packed import PackedFile, pack
from edgedistill.errors import CacheError, DamagedCacheError, DataError
from edgedistill.runtime.preprocess import ImageProblem, ReadProblem, read_rgb_noted

# Part of every fingerprint: raise it whenever `read_rgb` gives other pixels for the same file, or
# the files of a store change.
VERSION = 6
REPORT_FILE = "report.json"
HASHES_FILE = "hashes.npy"
# uint64 [N, 5]: the columns of `file_states`, and `hash_ends`.
FILES_FILE = "files.npy"
# Largest store that is kept as plain bytes: 8 GiB, 57,000 images at 224 px.
# benchmarks/speed/SCALE.md has the measurement.
PACK_ABOVE = 2**33
# Largest selection that is copied to memory: 64 MiB, 440 images at 224 px.
RAM_LIMIT = 2**26
# Largest selection whose pixels are compared with their hashes: 1 GiB, seconds.
CHECK_LIMIT = 2**30
_CHUNK = 1024
# Images that the size of a packed store is estimated from.
_SAMPLE = 32
_THREADS = 8


class Store:
    """The decoded images of one index at one size.

    Attributes:
        folder: where the arrays lie.
        size: side of the images.
        readable: bool [N], False for rows whose file could not be read.
        hashes: uint64 [N], `pixel_hash` of each readable row as it was decoded.
    """

    def __init__(self, index: Index, size: int, folder: Path) -> None:
        """Raises DamagedCacheError when files of the store were edited, cut short or deleted."""
        self.folder = folder
        self.size = size
        self._index = index
        self._position = _positions(index)
        # Starts its threads with the first packed images that are asked for.
        self._pool = ThreadPoolExecutor(min(_THREADS, available_cpus()))
        try:
            report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
            self._problems: dict[int, str] = {int(k): v for k, v in report["problems"].items()}
            self.readable = np.ones(len(index), dtype=bool)
            self.readable[np.array(report["unreadable"], dtype=np.int64)] = False
            self.hashes: NDArray[np.uint64] = np.load(folder / HASHES_FILE)
            counts = np.bincount(index.domain, minlength=len(index.domains)).tolist()
            self._arrays: list[NDArray[np.uint8]] = []
            self._packed: list[PackedFile] = []
            self._files: list[ByteFile] = []
            for domain, count in enumerate(counts):
                if report["packed"]:
                    ends = np.load(_ends_file(folder, domain))
                    self._packed.append(PackedFile(_pack_file(folder, domain), ends, size))
                else:
                    array = np.load(_array_file(folder, domain), mmap_mode="r")
                    _expect(array.shape == (count, size, size, 3), "an array of another shape")
                    self._arrays.append(array)
                    if self._bytes(len(index)) > RAM_LIMIT:
                        self._files.append(ByteFile(_array_file(folder, domain)))
            _expect(len(self.hashes) == len(index), f"{HASHES_FILE} of another length")
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise DamagedCacheError(
                f"store: {folder}: was edited, cut short or deleted in part ({error})", folder.name
            ) from error

    def problems(self, rows: NDArray[np.int64] | None = None) -> tuple[str, ...]:
        """`path: what is wrong with it` for the given rows (all rows when None)."""
        wanted = range(len(self._index)) if rows is None else rows.tolist()
        return tuple(
            f"{self._index.paths[row]}: {self._problems[row]}"
            for row in wanted
            if row in self._problems
        )

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy some rows: uint8 [K, size, size, 3]. Unreadable rows are zeros.

        Raises:
            DamagedCacheError: a file was cut short, or packed bytes are no image.
        """
        out = np.empty((len(rows), self.size, self.size, 3), dtype=np.uint8)
        domain, position = self._index.domain[rows], self._position[rows]
        for d in np.unique(domain).tolist():
            in_domain = np.flatnonzero(domain == d)
            # Ascending reads keep a spinning or network disk from seeking back and forth.
            in_domain = in_domain[np.argsort(position[in_domain], kind="stable")]
            if self._packed:
                out[in_domain] = self._packed[d].read(position[in_domain], self._pool)
            elif self._files:
                self._read(d, position[in_domain], out, in_domain)
            else:
                out[in_domain] = self._arrays[d][position[in_domain]]
        return out

    def _read(
        self,
        domain: int,
        positions: NDArray[np.int64],
        out: NDArray[np.uint8],
        places: NDArray[np.int64],
    ) -> None:
        """Read images at positions of a domain's file into places of `out`."""
        file, array, length = self._files[domain], self._arrays[domain], self._bytes(1)
        assert isinstance(array, np.memmap)
        for place, position in zip(places.tolist(), positions.tolist(), strict=True):
            data = file.read(array.offset + position * length, length)
            if len(data) != length:
                raise DamagedCacheError(f"store: {file.path}: was cut short", self.folder.name)
            out[place] = np.frombuffer(data, np.uint8).reshape(out.shape[1:])

    def _bytes(self, images: int) -> int:
        return images * self.size * self.size * 3

    def images(self, rows: NDArray[np.int64]) -> ImageSet:
        """The readable ones of some rows, in the order given.

        Above `RAM_LIMIT` bytes images are read as they are used, so memory stays bounded. Below,
        one ascending run of an array is a view of the mapped file, any other selection a copy.

        Raises:
            DataError: of a class or a domain among the rows, no file can be read.
            DamagedCacheError: pixels are not those that were decoded, which is looked at up to
                `CHECK_LIMIT` bytes.
        """
        readable_rows = rows[self.readable[rows]]
        self._refuse_lost_groups(rows, readable_rows)
        images = self._image_set(readable_rows, self.problems(rows))
        if self._bytes(len(images)) <= CHECK_LIMIT:
            self._refuse_edited(images)
        return images

    def _refuse_edited(self, images: ImageSet) -> None:
        hashes = [
            pixel_hash(image)
            for start in range(0, len(images), _CHUNK)
            for image in images[start : start + _CHUNK]
        ]
        wrong = images.rows[np.array(hashes, np.uint64) != self.hashes[images.rows]]
        if len(wrong):
            raise DamagedCacheError(
                f"store: {self.folder}: pixels of {len(wrong)} images were edited, first "
                f"{self._index.paths[wrong[0]]}",
                self.folder.name,
            )

    def _refuse_lost_groups(
        self, rows: NDArray[np.int64], readable_rows: NDArray[np.int64]
    ) -> None:
        index = self._index
        for what, names, ids in (
            ("class", index.classes, index.label),
            ("domain", index.domains, index.domain),
        ):
            lost = np.setdiff1d(ids[rows], ids[readable_rows])
            # An index of unlabelled images has no classes.
            if len(lost) and lost[0] >= 0:
                inside = rows[ids[rows] == lost[0]]
                raise DataError(
                    f"data: none of the {len(inside)} images of {what} "
                    f"{names[int(lost[0])]!r} in {index.root} can be read; the first is "
                    f"{self.problems(inside[:1])[0]}; replace the files or leave the {what} out"
                )

    def _image_set(self, rows: NDArray[np.int64], problems: tuple[str, ...]) -> ImageSet:
        paths = self._index.paths
        if self._bytes(len(rows)) > RAM_LIMIT:
            return ImageSet.lazy(self.gather, paths, rows, self.size, self.hashes[rows], problems)
        if len(rows) and not self._packed:
            domain = np.unique(self._index.domain[rows])
            position = self._position[rows]
            if len(domain) == 1 and bool(np.all(np.diff(position) == 1)):
                run = self._arrays[int(domain[0])][int(position[0]) : int(position[-1]) + 1]
                return ImageSet.from_array(run, paths, rows, problems)
        pixels = self.gather(rows)
        pixels.flags.writeable = False
        return ImageSet.from_array(pixels, paths, rows, problems)

    def damaged_rows(self) -> NDArray[np.int64]:
        """Readable rows whose pixels are not those that were decoded, `[n]`."""
        rows = np.flatnonzero(self.readable)
        wrong = []
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            try:
                hashes = [pixel_hash(image) for image in self.gather(part)]
            except DamagedCacheError:
                hashes = [self._hash_or_none(row) for row in part]
            wrong += part[np.array(hashes, np.uint64) != self.hashes[part]].tolist()
        return np.array(wrong, dtype=np.int64)

    def misdecoded_rows(self, count: int = 16) -> NDArray[np.int64]:
        """Those of some rows, spread over the store, whose files decode to other pixels, `[n]`.

        Args:
            count: rows that are decoded again, at most.
        """
        rows = np.flatnonzero(self.readable)
        rows = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]
        wrong = []
        for row in rows.tolist():
            pixels, _ = _decode(self._index.path(row), self.size)
            if pixels is None or pixel_hash(pixels) != int(self.hashes[row]):
                wrong.append(row)
        return np.array(wrong, dtype=np.int64)

    def _hash_or_none(self, row: np.int64) -> int:
        try:
            return pixel_hash(self.gather(np.array([row]))[0])
        except DamagedCacheError:
            return 0


def open_store(
    index: Index, size: int, cache: Path | None = None, workers: int | None = None
) -> Store:
    """The store of an index at a size, built when it does not exist yet.

    Args:
        index: the images.
        size: side of the decoded images.
        cache: cache folder, None for `cache_dir()`.
        workers: decoding threads, None for one per CPU that the process may use.

    Raises:
        CacheError: the cache cannot be written.
        DataError: an image cannot be read for a reason that does not lie in the image.
    """
    states = file_states(index)
    folder = _folder(index, size, cache, states)
    replaced = _replaced(index, folder, states) if folder.is_dir() else np.zeros(0, np.int64)
    if len(replaced):
        callbacks.current().on_warning(
            f"{len(replaced)} image files were replaced since they were decoded at {size} px, by "
            f"others of equal size and time, first {index.path(int(replaced[0]))}: decoding anew"
        )
    build_once(
        folder,
        lambda temporary: _build(index, size, temporary, workers or available_cpus(), states),
        is_stale=lambda folder: len(_replaced(index, folder, states)) > 0,
    )
    return Store(index, size, folder)


def store_folder(index: Index, size: int, cache: Path | None = None) -> Path:
    """The folder of `open_store` for an index at a size; it may not exist."""
    return _folder(index, size, cache, file_states(index))


def store_fingerprint(index: Index, size: int, states: NDArray[np.uint64] | None = None) -> str:
    """32 hex digits over what a store depends on.

    Root, paths, sizes and times of the files, the side of the pixels, and the domain of each image:
    a folder can be read in more than one layout, and each domain has an array of its own.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{VERSION}/{size}/{os.fspath(index.root)}".encode(errors="surrogateescape"))
    lines = hash_states(file_states(index) if states is None else states)
    for path, state in zip(index.paths, lines, strict=True):
        digest.update(f"\n{path}\0{state}".encode(errors="surrogateescape"))
    digest.update(index.domain.astype("<i8").tobytes())
    return digest.hexdigest()


def replaced_files(index: Index, folder: Path) -> NDArray[np.int64]:
    """Rows whose files are other ones than a store decoded, of equal size and time: int64 `[n]`.

    Raises DamagedCacheError when the store's record of its files was edited, cut short or deleted.
    """
    return _replaced(index, folder, file_states(index))


def _replaced(index: Index, folder: Path, states: NDArray[np.uint64]) -> NDArray[np.int64]:
    try:
        recorded = np.load(folder / FILES_FILE)
        _expect(recorded.shape == (len(index), 5), f"{FILES_FILE} of another shape")
    except (OSError, ValueError, EOFError) as error:
        raise DamagedCacheError(
            f"store: {folder}: was edited, cut short or deleted in part ({error})", folder.name
        ) from error
    return replaced_rows(index, states, recorded[:, :4], recorded[:, 4])


def _folder(index: Index, size: int, cache: Path | None, states: NDArray[np.uint64]) -> Path:
    root = cache_dir() if cache is None else cache
    return root / "store" / store_fingerprint(index, size, states)


def _array_file(folder: Path, domain: int) -> Path:
    return folder / f"domain{domain}.npy"


def _pack_file(folder: Path, domain: int) -> Path:
    return folder / f"domain{domain}.webps"


def _ends_file(folder: Path, domain: int) -> Path:
    return folder / f"domain{domain}.ends.npy"


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise ValueError(otherwise)


def _positions(index: Index) -> NDArray[np.int64]:
    """Position of each row in the array of its domain."""
    position = np.empty(len(index), dtype=np.int64)
    for d in range(len(index.domains)):
        mask = index.domain == d
        position[mask] = np.arange(int(mask.sum()))
    return position


class _Image(NamedTuple):
    """One decoded file.

    `data` is what the store keeps of it, `hash` 0 if it is not readable, `ends` its `hash_ends`.
    """

    data: bytes
    hash: int
    ends: int
    problem: str | None


def _build(index: Index, size: int, folder: Path, workers: int, states: NDArray[np.uint64]) -> None:
    packed = math.prod((len(index), size, size, 3)) > PACK_ABOVE
    _announce_bytes(index, size, folder, packed)
    hashes, ends = (np.zeros(len(index), dtype=np.uint64) for _ in range(2))
    problems: dict[int, str] = {}
    done = 0
    progress = callbacks.current().progress(f"decoding at {size} px", "images")
    with progress as update, ThreadPoolExecutor(workers) as pool:
        for d in range(len(index.domains)):
            rows = np.flatnonzero(index.domain == d).tolist()
            file = (_pack_file if packed else _array_file)(folder, d)
            lengths = []
            # Written front to back: a full disk is then an error of `write`, where a page of a
            # sparse mapped file that finds no room would kill the process.
            with open(file, "wb") as out:
                if not packed:
                    shape = (len(rows), size, size, 3)
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(out, header)
                # `map` takes all its input at once; batches bound the memory.
                for start in range(0, len(rows), 32 * workers):
                    batch = rows[start : start + 32 * workers]
                    results = pool.map(lambda row: _image(index.path(row), size, packed), batch)
                    for row, image in zip(batch, results, strict=True):
                        if image.problem is not None:
                            problems[row] = image.problem
                        hashes[row], ends[row] = image.hash, image.ends
                        lengths.append(len(image.data))
                        out.write(image.data)
                        done += 1
                        update(done, len(index))
            _to_disk(file)
            if packed:
                np.save(_ends_file(folder, d), np.cumsum(lengths, dtype=np.int64))
                _to_disk(_ends_file(folder, d))
    for name, array in (
        (HASHES_FILE, hashes),
        (FILES_FILE, np.column_stack([states, ends])),
    ):
        np.save(folder / name, array)
        _to_disk(folder / name)
    report = {
        "root": os.fspath(index.root),
        "size": size,
        "images": len(index),
        "domains": list(index.domains),
        "packed": packed,
        "unreadable": np.flatnonzero(hashes == 0).tolist(),
        "problems": problems,
    }
    (folder / REPORT_FILE).write_text(json.dumps(report, indent=1), encoding="utf-8")
    _to_disk(folder / REPORT_FILE)


def _announce_bytes(index: Index, size: int, folder: Path, packed: bool) -> None:
    """Say what a store will take on the disk. Raises CacheError where there is not so much room."""
    needed, about = math.prod((len(index), size, size, 3)), ""
    if packed:
        rows = np.linspace(0, len(index) - 1, _SAMPLE).astype(np.int64).tolist()
        lengths = [len(_image(index.path(row), size, packed).data) for row in rows]
        needed, about = sum(lengths) * len(index) // len(rows), "about "
    free = shutil.disk_usage(folder).free
    message = (
        f"stores {len(index)} images at {size} px: {about}{size_text(needed)} in {folder.parent}, "
        f"{size_text(free)} free"
    )
    if needed > free:
        raise CacheError(f"cache: {message}; {ADVICE}")
    callbacks.current().on_note(message)


def _image(path: Path, size: int, packed: bool) -> _Image:
    ends = hash_ends(path)
    pixels, problem = _decode(path, size)
    if pixels is None:
        return _Image(b"" if packed else bytes(size * size * 3), 0, ends, problem)
    data = pack(pixels) if packed else pixels.tobytes()
    return _Image(data, pixel_hash(pixels), ends, problem)


def _decode(path: Path, size: int) -> tuple[NDArray[np.uint8] | None, str | None]:
    try:
        return read_rgb_noted(path, size)
    except ImageProblem as problem:
        # The store would leave the image out for good, even when the machine is well again. Where
        # its whole folder is gone a disk went away.
        if isinstance(problem, ReadProblem) or not path.parent.is_dir():
            raise DataError(
                f"data: {path}: {problem}; make it readable or remove it, and start again"
            ) from problem
        return None, f"{problem}; skipped"


def _to_disk(file: Path) -> None:
    with open(file, "rb+") as handle:
        os.fsync(handle.fileno())
