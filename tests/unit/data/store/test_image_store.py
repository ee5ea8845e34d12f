import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.callbacks import Callback, reporting
from edgedistill.data.images import pixel_hash
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.build_once import build_once
from edgedistill.data.store.image_store import open_store, replaced_files, store_fingerprint
from edgedistill.errors import CacheError, DamagedCacheError, DataError, EdgeDistillError
from edgedistill.runtime.preprocess import read_rgb


@pytest.fixture
def index(tmp_path: Path) -> Index:
    rng = np.random.default_rng(0)
    for domain in ("a", "b"):
        for cls in ("cat", "dog"):
            folder = tmp_path / "data" / domain / cls
            folder.mkdir(parents=True)
            for k in range(4):
                pixels = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
    return read_folder(tmp_path / "data")


def test_pixels_are_those_of_read_rgb_in_the_order_asked_for(index: Index, tmp_path: Path) -> None:
    rows = np.array([13, 2, 7, 0], dtype=np.int64)
    images = open_store(index, 8, tmp_path / "cache", workers=2).images(rows)
    assert np.array_equal(images.rows, rows)
    assert images.problems == ()
    for image, row in zip(images[:], rows, strict=True):
        assert np.array_equal(image, read_rgb(index.path(int(row)), 8))


def test_a_domain_is_a_view_of_the_file(index: Index, tmp_path: Path) -> None:
    store = open_store(index, 8, tmp_path / "cache")
    images = store.images(np.flatnonzero(index.domain == 1).astype(np.int64))
    assert isinstance(images.pixels, np.memmap)
    assert images.pixels.shape == (8, 8, 8, 3)
    mixed = store.images(np.arange(16, dtype=np.int64))
    assert mixed.pixels is not None and not mixed.pixels.flags.writeable


def test_a_large_selection_is_read_as_it_is_used(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(index, 8, tmp_path / "cache")
    rows = np.arange(15, -1, -1, dtype=np.int64)
    small = store.images(rows)
    monkeypatch.setattr("edgedistill.data.store.image_store.RAM_LIMIT", 100)
    large = store.images(rows)
    assert large.pixels is None and small.pixels is not None
    assert large.size == small.size and len(large) == 16
    some = np.array([9, 3, 3])
    assert np.array_equal(large[2:7], small[2:7])
    assert np.array_equal(large[some], small[some])
    assert np.array_equal(large.hashes(), small.hashes())


def test_reading_a_large_selection_takes_the_memory_of_a_batch(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgedistill.data.store.image_store.RAM_LIMIT", 100)
    store = open_store(index, 256, tmp_path / "cache")
    tracemalloc.start()
    images = store.images(np.arange(16, dtype=np.int64))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    for start in range(0, 16, 2):
        assert images[start : start + 2].any()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two pictures are 0.4 MB, all of them 3.1 MB.
    assert peak - before < 1.2e6


def test_domains_may_be_interleaved(index: Index, tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(len(index))
    shuffled = Index(
        **{
            **index.__dict__,
            "paths": tuple(index.paths[i] for i in order),
            "domain": index.domain[order],
            "label": index.label[order],
        }
    )
    images = open_store(shuffled, 8, tmp_path / "cache").images(np.arange(16, dtype=np.int64))
    for image, row in zip(images[:], images.rows, strict=True):
        assert np.array_equal(image, read_rgb(shuffled.path(int(row)), 8))


def test_unreadable_files_are_dropped_and_reported_once(index: Index, tmp_path: Path) -> None:
    index.path(3).write_bytes(b"")
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    frames[0].save(index.path(5), format="GIF", save_all=True, append_images=frames[1:])
    rows = np.arange(16, dtype=np.int64)
    images = open_store(index, 8, tmp_path / "cache").images(rows)
    assert np.array_equal(images.rows, np.delete(rows, 3))
    assert len(images) == 15
    assert images.problems == (
        "a/cat/3.png: the file is empty; skipped",
        "a/dog/1.png: has several frames, the first is used",
    )
    store = open_store(index, 8, tmp_path / "cache")
    assert json.loads((store.folder / "report.json").read_text())["unreadable"] == [3]
    assert not store.readable[3]
    assert store.images(rows[8:]).problems == ()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
        (MemoryError(), "memory"),
    ],
)
def test_a_failing_machine_stops_the_build_and_is_not_recorded(
    index: Index,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    real = Image.open

    def failing(path: Path, *more: Any) -> Image.Image:
        if path == index.path(3):
            raise error
        return real(path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", failing)
        with raises(DataError, index.path(3), reason):
            open_store(index, 8, tmp_path / "cache", workers=2)
    # The file is as it was, and so is the store's name.
    assert open_store(index, 8, tmp_path / "cache").readable.all()


def test_a_vanished_image_is_left_out_and_a_vanished_folder_stops_the_build(
    index: Index, tmp_path: Path
) -> None:
    index.path(3).unlink()
    store = open_store(index, 8, tmp_path / "cache")
    assert np.flatnonzero(~store.readable).tolist() == [3]
    assert store.problems() == ("a/cat/3.png: no such file; skipped",)
    shutil.rmtree(index.path(0).parent)
    with raises(DataError, index.path(0), "no such file"):
        open_store(index, 8, tmp_path / "cache")


def test_a_class_without_a_readable_file_is_an_error(index: Index, tmp_path: Path) -> None:
    for row in np.flatnonzero(index.label == 1):
        index.path(int(row)).write_bytes(b"x")
    store = open_store(index, 8, tmp_path / "cache")
    assert len(store.images(np.flatnonzero(index.label == 0).astype(np.int64)).rows) == 8
    with raises(DataError, "8 images", "class 'dog'", index.root, "a/dog/0.png"):
        store.images(np.arange(16, dtype=np.int64))


def test_fingerprint_follows_the_files(index: Index) -> None:
    first = store_fingerprint(index, 8)
    assert first == store_fingerprint(index, 8)
    assert first != store_fingerprint(index, 9)
    os.utime(index.path(0), ns=(1, 1))
    touched = store_fingerprint(index, 8)
    assert touched != first
    index.path(1).unlink()
    assert store_fingerprint(index, 8) != touched


def test_one_folder_read_in_two_layouts_has_two_stores(index: Index, tmp_path: Path) -> None:
    as_one = replace(index, domains=("all",), domain=np.zeros(len(index), np.int64))
    for read in (index, as_one):
        store = open_store(read, 8, tmp_path / "cache")
        assert len(store.images(np.arange(len(index), dtype=np.int64)).rows) == len(index)


def swap(a: Path, b: Path) -> None:
    """Exchange the names of two files or folders."""
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def replace_content(index: Index) -> list[int]:
    """Overwrite a file by another picture of its size, and put the time back."""
    path, other = index.path(3), index.path(4)
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(5, 5))
    return [3]


def swap_files(index: Index) -> list[int]:
    swap(index.path(3), index.path(4))
    return [3, 4]


def swap_classes(index: Index) -> list[int]:
    swap(index.path(0).parent, index.path(4).parent)
    return list(range(8))


@pytest.mark.parametrize("harm", [replace_content, swap_files, swap_classes])
def test_other_pictures_of_equal_size_and_time_are_noticed(
    index: Index, tmp_path: Path, harm: Callable[[Index], list[int]]
) -> None:
    length = max(index.path(row).stat().st_size for row in range(len(index)))
    for row in range(len(index)):
        file = index.path(row)
        # Nobody reads what follows the end of a PNG.
        file.write_bytes(file.read_bytes().ljust(length, b"\0"))
        os.utime(file, ns=(5, 5))
    before = open_store(index, 8, tmp_path / "cache")
    assert replaced_files(index, before.folder).tolist() == []
    rows = harm(index)
    assert replaced_files(index, before.folder).tolist() == rows
    warnings = Warnings()
    with reporting([warnings]):
        after = open_store(index, 8, tmp_path / "cache")
        open_store(index, 8, tmp_path / "cache")
    (line,) = warnings.lines
    assert str(index.path(rows[0])) in line
    assert after.folder == before.folder
    for row in range(len(index)):
        assert np.array_equal(after.gather(np.array([row]))[0], read_rgb(index.path(row), 8))
    assert np.flatnonzero(after.hashes != before.hashes).tolist() == rows
    # Who had the old files open goes on with them.
    assert np.array_equal(pixel_hash(before.gather(np.array([3]))[0]), before.hashes[3])


def test_a_file_that_only_its_owner_touched_is_not_decoded_again(
    index: Index, tmp_path: Path
) -> None:
    before = open_store(index, 8, tmp_path / "cache").folder.stat().st_ino
    index.path(2).chmod(0o600)
    copy = index.path(5).with_suffix(".copy")
    shutil.copy2(index.path(5), copy)
    copy.rename(index.path(5))
    assert open_store(index, 8, tmp_path / "cache").folder.stat().st_ino == before


def test_a_sample_is_decoded_again(index: Index, tmp_path: Path) -> None:
    store = open_store(index, 8, tmp_path / "cache")
    assert store.misdecoded_rows().tolist() == []
    Image.new("RGB", (9, 9), "red").save(index.path(7))
    index.path(2).unlink()
    assert store.misdecoded_rows().tolist() == [2, 7]


def test_the_room_on_the_disk_is_looked_at_before_decoding(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3_071))
    notes = Warnings()
    with (
        reporting([notes]),
        raises(CacheError, "16 images", "8 px", "3.1 kB", tmp_path, "EDGEDISTILL_CACHE"),
    ):
        open_store(index, 8, tmp_path / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3_072))
    with reporting([notes]):
        open_store(index, 8, tmp_path / "cache")
    (line,) = notes.notes
    assert "16 images at 8 px" in line and "3.1 kB" in line


def test_a_cut_file_is_refused_when_it_is_read(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgedistill.data.store.image_store.RAM_LIMIT", 100)
    store = open_store(index, 8, tmp_path / "cache")
    os.truncate(store.folder / "domain1.npy", 500)
    assert store.gather(np.array([8])).any()
    with raises(DamagedCacheError, store.folder / "domain1.npy"):
        store.gather(np.array([0, 15]))


class Warnings(Callback):
    """Lines that are heard."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []

    def on_warning(self, message: str) -> None:
        self.lines.append(message)

    def on_note(self, message: str) -> None:
        self.notes.append(message)


def test_an_unwritable_cache_is_one_line(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with raises(CacheError, tmp_path / "file", "EDGEDISTILL_CACHE"):
        open_store(index, 8, tmp_path / "file")


PROGRAMS = Path(__file__).with_name("programs")


def start(program: str, index: Index, cache: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / program), str(index.root)],
        env={**os.environ, "EDGEDISTILL_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_at_once(index: Index, tmp_path: Path) -> None:
    processes = [start("sum_store.py", index, tmp_path / "cache") for _ in range(2)]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    built = [p for p in (tmp_path / "cache" / "store").iterdir() if not p.name.startswith(".")]
    assert len(built) == 1


def test_a_killed_build_leaves_nothing_half(index: Index, tmp_path: Path) -> None:
    process = start("stall.py", index, tmp_path / "cache")
    assert process.stdout is not None
    assert "decoding" in process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = tmp_path / "cache" / "store"
    assert not [p for p in folder.iterdir() if not p.name.startswith(".")]
    assert list(folder.glob(".*.tmp-*"))
    store = open_store(index, 8, tmp_path / "cache")
    assert np.array_equal(store.gather(np.array([3]))[0], read_rgb(index.path(3), 8))
    assert not list(folder.glob(".*.tmp-*"))


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise EdgeDistillError("no")

    with pytest.raises(EdgeDistillError):
        build_once(tmp_path / "it", fail)
    assert [p.name for p in tmp_path.iterdir()] == [".it.lock"]


def test_the_loser_of_a_race_takes_the_winners_folder(tmp_path: Path) -> None:
    target = tmp_path / "it"

    def overtaken(folder: Path) -> None:
        # Stands for a process on a file system without locks that finished first.
        target.mkdir()
        (target / "whose").write_text("other")
        (folder / "whose").write_text("mine")

    assert build_once(target, overtaken) == target
    assert (target / "whose").read_text() == "other"
    assert not list(tmp_path.glob(".it.tmp-*"))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_built(tmp_path: Path) -> None:
    """A file-size limit stands in for the disk: writing fails where room runs out."""
    root = tmp_path / "tree"
    for domain in ("a", "b"):
        for name in ("x", "y"):
            folder = root / domain / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8), "red").save(folder / "1.png")
    cache = tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "full_disk.py"), str(root), str(cache)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "EDGEDISTILL_CACHE" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert not [p for p in (cache / "store").iterdir() if p.is_dir()]
