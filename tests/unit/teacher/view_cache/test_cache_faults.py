"""The view cache under kills, full disks, several processes and edited files."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from culprits import raises
from filelock import FileLock
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
from edgedistill.data.views import ViewSpec
from edgedistill.errors import CacheError, DamagedCacheError, OutputError, WeightsError
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.cache import (
    ViewCache,
    build_view_cache,
    embed_views,
)
from edgedistill.teacher.view_cache.files import CacheFiles

SPEC = ViewSpec(
    seed=1,
    scale=(0.5, 1.0),
    ratio=(0.75, 4 / 3),
    flip=0.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    grayscale=0.1,
)
COUNT, BATCH, BLOCK = 2, 2, 100


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_files, "BLOCK", BLOCK)
    monkeypatch.setattr(cache_files, "FLUSH_SECONDS", 0.0)


@pytest.fixture(scope="module")
def teacher(tiny_clip: Path) -> Teacher:
    return load_teacher(f"local-dir:{tiny_clip}", "", torch.device("cpu"))


@pytest.fixture(scope="module")
def source(shapes: Path) -> ImageSet:
    index = read_folder(shapes)
    rows = np.arange(0, len(index), 20, dtype=np.int64)
    return open_store(index, 36).images(rows)


def build(root: Path, teacher: Teacher, source: ImageSet, **more: Any) -> ViewCache:
    return build_view_cache(root, teacher, source, SPEC, COUNT, batch=BATCH, **more)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, teacher: Teacher, source: ImageSet
) -> ViewCache:
    return build(tmp_path_factory.mktemp("whole"), teacher, source)


def files_of(cache: ViewCache) -> CacheFiles:
    return CacheFiles(cache.folder, *cache.embeddings.shape, cache.embeddings.dtype)


def computed(root: Path) -> int:
    """How many rows of the caches under a folder count."""
    entries = [np.fromfile(path, np.uint64) for path in root.glob("*/blocks/*.u64")]
    return sum(int(np.count_nonzero(block[::2])) for block in entries)


def same(a: ViewCache, b: ViewCache) -> bool:
    return np.array_equal(a.embeddings, b.embeddings)


def in_child(work: Callable[[], object]) -> int:
    """Run in a forked process; its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_two_children(work: Callable[[int, Callable[[], None]], object]) -> list[int]:
    """Run `work(number, meet)` in two forked processes; returns their exit statuses.

    `meet` returns once both have called it, and fails where the other one ended instead.
    """
    pipes, pids = [os.pipe(), os.pipe()], []
    for number in range(2):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                # With its last writer a pipe ends, and so does reading from it.
                os.close(pipes[1 - number][1])

                def meet(number: int = number) -> None:
                    os.write(pipes[number][1], b"x")
                    assert os.read(pipes[1 - number][0], 1) == b"x"

                work(number, meet)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def count_down(monkeypatch: pytest.MonkeyPatch, calls: int, then: Callable[[], None]) -> list[int]:
    """Call `then` in place of the step after `calls` steps that change files; counts them."""
    steps = [0]

    def stepping(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            steps[0] += 1
            if steps[0] > calls:
                then()
            return real(*args, **more)

        return step

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, stepping(getattr(os, name)))
    return steps


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_at_any_step_it_resumes_to_the_same_bytes(
    tmp_path: Path,
    teacher: Teacher,
    source: ImageSet,
    whole: ViewCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        steps = count_down(patch, 10**9, kill)
        build(tmp_path / "all", teacher, source)
    assert steps[0] > 60
    leftovers = 0
    for number in {*range(0, 12, 2), *range(12, steps[0], 9), steps[0] - 1}:
        root = tmp_path / str(number)
        with monkeypatch.context() as patch:
            count_down(patch, number, kill)
            assert in_child(lambda root=root: build(root, teacher, source)) == -signal.SIGKILL
        leftovers += len([*root.glob("*/.*.tmp*")])
        assert same(build(root, teacher, source), whole), number
        assert not [*root.glob("*/.*.tmp*")]
    # Some were killed between making a file and giving it its name.
    assert leftovers


def test_a_full_disk_is_one_line_and_loses_nothing_that_was_committed(
    tmp_path: Path,
    teacher: Teacher,
    source: ImageSet,
    whole: ViewCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    done = []
    for calls, kind in ((1, OutputError), (40, CacheError)):
        with monkeypatch.context() as patch:
            count_down(patch, calls, full)
            with raises(kind, tmp_path, os.strerror(errno.ENOSPC)):
                build(tmp_path, teacher, source)
        done.append(computed(tmp_path))
    assert done[0] == 0 and 0 < done[1] < len(source.rows)
    assert same(build(tmp_path, teacher, source), whole)


def test_a_limit_on_file_size_is_one_line(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    def limited() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with raises(OutputError, tmp_path, os.strerror(errno.EFBIG)):
            build(tmp_path, teacher, source)

    assert in_child(limited) == 0


def test_processes_share_the_work_block_by_block(
    tmp_path: Path, teacher: Teacher, source: ImageSet, whole: ViewCache
) -> None:
    first = replace(source, pixels=source.pixels[:1], rows=source.rows[:1])
    files = files_of(build(tmp_path, teacher, first))
    # Another process is at block 1.
    lock = FileLock(files.folder / "locks" / "1")
    lock.acquire()
    seen: list[bool] = []

    def waiting() -> None:
        done = files.pixel_hashes()[source.rows] > 0
        seen.extend((done == (source.rows // BLOCK != 1)).tolist())
        lock.release()

    totals: set[int] = set()
    last: list[int] = []

    def report(done: int, total: int) -> None:
        totals.add(total)
        last[:] = [done]

    built = build(tmp_path, teacher, source, waiting=waiting, report=report)
    assert seen and all(seen)
    assert same(built, whole)
    assert totals == {len(source.rows) - 1} and last == [len(source.rows) - 1]


def test_two_processes_fill_different_blocks_at_the_same_time(
    tmp_path: Path,
    teacher: Teacher,
    source: ImageSet,
    whole: ViewCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(number: int, meet: Callable[[], None]) -> None:
        asked: list[int] = []

        def embed(
            teacher: Teacher, source: ImageSet, positions: NDArray[np.int64], *more: Any
        ) -> torch.Tensor:
            if not asked:
                # At its first block, whose lock it holds, and so is the other one.
                meet()
            asked.extend(np.unique(source.rows[positions]).tolist())
            return embed_views(teacher, source, positions, *more)

        def waiting() -> None:
            # Not for the block of a process that waits for this one.
            assert asked

        monkeypatch.setattr("edgedistill.teacher.view_cache.cache.embed_views", embed)
        build(tmp_path / "root", teacher, source, waiting=waiting)
        (tmp_path / f"{number}.json").write_text(json.dumps(asked))

    assert in_two_children(work) == [0, 0]
    a, b = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    assert {a[0] // BLOCK, b[0] // BLOCK} == {0, 1}
    # Nothing was computed twice, and nothing is left to do.
    assert sorted(a + b) == source.rows.tolist()
    built = build(tmp_path / "root", teacher, source, report=lambda *_: pytest.fail("not whole"))
    assert same(built, whole)
    assert not len(cache_files.damaged_rows(files_of(built), source.rows))


def test_what_another_process_filled_in_the_meantime_is_not_computed_again(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    first = replace(source, pixels=source.pixels[:1], rows=source.rows[:1])
    files = files_of(build(tmp_path, teacher, first))
    lock = FileLock(files.folder / "locks" / "1")
    lock.acquire()
    here = source.rows // BLOCK == 1
    theirs = replace(source, pixels=source.pixels[here], rows=source.rows[here])
    counted: list[int] = []

    def other() -> None:
        lock.release()
        build(tmp_path, teacher, theirs)
        counted.append(int(np.count_nonzero(files.pixel_hashes())))

    dones: list[int] = []
    build(tmp_path, teacher, source, waiting=other, report=lambda done, total: dones.append(done))
    assert counted == [len(source.rows)]
    assert dones[-1] == len(source.rows) - 1 - int(here.sum())


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"seed": 1', '"seed": 2'),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        None,
    ],
)
def test_an_edited_header_is_refused(
    tmp_path: Path, teacher: Teacher, source: ImageSet, edit: Callable[[str], str] | None
) -> None:
    header = build(tmp_path, teacher, source).folder / "header.json"
    if edit is None:
        header.unlink()
    else:
        header.write_text(edit(header.read_text()))
    with raises(DamagedCacheError, header, "edgedistill cache clear"):
        build(tmp_path, teacher, source)


@pytest.mark.parametrize("name", ["embeddings.f16", "blocks/0.u64"])
def test_a_file_cut_short_is_refused(
    tmp_path: Path, teacher: Teacher, source: ImageSet, name: str
) -> None:
    path = build(tmp_path, teacher, source).folder / name
    os.truncate(path, path.stat().st_size - 1)
    refused(tmp_path, teacher, source, path)


def test_deleted_embeddings_are_refused(tmp_path: Path, teacher: Teacher, source: ImageSet) -> None:
    path = build(tmp_path, teacher, source).folder / "embeddings.f16"
    path.unlink()
    refused(tmp_path, teacher, source, path)


def refused(root: Path, teacher: Teacher, source: ImageSet, path: Path) -> None:
    """A build names a file and how to remove the cache."""
    with raises(DamagedCacheError, path, "edgedistill cache clear"):
        build(root, teacher, source)


@pytest.mark.parametrize("name", ["embeddings.f16", "blocks/0.u64"])
def test_an_edited_array_is_found_refused_and_repaired(
    tmp_path: Path, teacher: Teacher, source: ImageSet, whole: ViewCache, name: str
) -> None:
    files = files_of(build(tmp_path, teacher, source))
    row = int(source.rows[3])
    # Of an entry the second half, its checksum.
    flip(files.folder / name, files.row_bytes * row if name == "embeddings.f16" else 16 * row + 8)
    assert cache_files.damaged_rows(files, np.arange(files.images)).tolist() == [row]
    command = "edgedistill cache verify RECIPE --repair"
    with raises(CacheError, "1 images", source.paths[row], command):
        build(tmp_path, teacher, source)
    # Runs over other images go on.
    build(tmp_path, teacher, replace(source, pixels=source.pixels[:2], rows=source.rows[:2]))
    cache_files.invalidate(files, np.array([row]))
    assert same(build(tmp_path, teacher, source), whole)


def flip(path: Path, offset: int) -> None:
    """Change a bit of the fourth byte from an offset."""
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 4
    path.write_bytes(content)


def test_a_row_of_another_pixel_hash_is_computed_again(
    tmp_path: Path, teacher: Teacher, source: ImageSet, whole: ViewCache
) -> None:
    files = files_of(build(tmp_path, teacher, source))
    flip(files.folder / "blocks" / "0.u64", 16 * int(source.rows[2]))
    totals: set[int] = set()
    built = build(tmp_path, teacher, source, report=lambda done, total: totals.add(total))
    assert same(built, whole) and totals == {1}


def test_a_deleted_block_is_computed_again(
    tmp_path: Path, teacher: Teacher, source: ImageSet, whole: ViewCache
) -> None:
    files = files_of(build(tmp_path, teacher, source))
    (files.folder / "blocks" / "0.u64").unlink()
    totals: set[int] = set()
    built = build(tmp_path, teacher, source, report=lambda done, total: totals.add(total))
    assert same(built, whole) and totals == {int((source.rows < BLOCK).sum())}


def test_a_cache_that_is_being_filled_is_known_to_be_in_use(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    seen = []

    def look(done: int, total: int) -> None:
        (folder,) = tmp_path.iterdir()
        seen.append(in_child(lambda: None if cache_files.in_use(folder) else os._exit(3)))

    cache = build(tmp_path, teacher, source, report=look)
    assert set(seen) == {0}
    assert not cache_files.in_use(cache.folder)


def test_a_teacher_that_gives_no_numbers_fills_nothing(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    class Broken(Teacher):
        def encode_images(self, pixels: torch.Tensor, *more: Any) -> torch.Tensor:
            embeddings = super().encode_images(pixels, *more)
            embeddings[0, 0] = torch.nan
            return embeddings

    broken = Broken(**vars(teacher))
    with raises(WeightsError, source.paths[0], "finite"):
        build(tmp_path, broken, source)
    assert computed(tmp_path) == 0
