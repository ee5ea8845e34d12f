"""The view cache: right numbers, whatever interrupts or changes, and never stale ones."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from culprits import raises

from edgedistill.data.images import ImageSet
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
from edgedistill.data.views import ViewSpec
from edgedistill.errors import CacheError, DamagedCacheError
from edgedistill.methods import METHODS, TeacherOutputs
from edgedistill.methods.base import SourceRows
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.text import build_text_bank
from edgedistill.teacher.view_cache import files as cache_files
from edgedistill.teacher.view_cache.cache import (
    ViewCache,
    build_view_cache,
    embed_views,
)

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
COUNT = 3
# Of losses with cached embeddings to those with the teacher's own. Half precision moves a cosine by
# at most 1e-3, either way, and a loss is a mean over images: 1e-4 was seen.
HALF_PRECISION = 3e-4


@pytest.fixture(scope="module")
def teacher(tiny_clip: Path) -> Teacher:
    return load_teacher(f"local-dir:{tiny_clip}", "", torch.device("cpu"))


@pytest.fixture(scope="module")
def source(shapes: Path) -> ImageSet:
    index = read_folder(shapes)
    rows = np.arange(0, len(index), 9, dtype=np.int64)
    return open_store(index, 36).images(rows)


def build(root: Path, teacher: Teacher, source: ImageSet, **more: Any) -> ViewCache:
    return build_view_cache(root, teacher, source, more.pop("spec", SPEC), COUNT, batch=6, **more)


def rows_done(root: Path, teacher: Teacher, source: ImageSet) -> int:
    """How many rows a build has to compute."""
    totals: list[int] = []
    build(root, teacher, source, report=lambda done, total: totals.append(total))
    return totals[0] if totals else 0


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, teacher: Teacher, source: ImageSet
) -> ViewCache:
    return build(tmp_path_factory.mktemp("whole"), teacher, source)


def same(a: ViewCache, b: ViewCache, source: ImageSet) -> bool:
    return np.array_equal(a.embeddings[source.rows], b.embeddings[source.rows])


def test_cached_equals_on_the_fly_to_half_precision(
    whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    positions = np.array([4, 0, 2, 2, 7])
    views = np.array([2, 0, 1, 2, 1])
    fly = embed_views(teacher, source, positions, views, SPEC, None)
    cached = torch.from_numpy(whole.lookup(source.rows[positions], views))
    assert cached.dtype == torch.float32
    assert torch.allclose(cached, fly, atol=6e-4, rtol=0)
    assert torch.allclose(cached.norm(dim=1), torch.ones(5), atol=1e-3)
    # Other views of an image are other vectors.
    assert (cached[2] - cached[3]).abs().max() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_losses_agree_between_cached_and_on_the_fly(
    name: str, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    hyper = METHODS[name].Hyper()
    names = [["circle", "disc"], ["cross"], ["bar"]]
    sentences = METHODS[name].sentences(hyper)
    text = build_text_bank(teacher.encode_texts, names, ["a {}"], "best", 30.0, sentences)
    method = METHODS[name](hyper, text=text)
    torch.manual_seed(0)
    head = method.head(8, 3)
    positions, views = np.arange(9), np.arange(9) % COUNT
    labels = torch.arange(9) % 3
    rows = None
    if method.uses_domains:
        partners = torch.arange(9).roll(1)
        rows = SourceRows(torch.arange(9) // 5, 2, partners, torch.full((9,), 0.75))
    fly = embed_views(teacher, source, positions, views, SPEC, None)
    cached, other = (
        F.normalize(torch.from_numpy(whole.lookup(source.rows[positions], v)), dim=1)
        for v in (views, (views + 1) % COUNT)
    )
    out = head(torch.randn(9, 8))
    a, b, c = (
        method.losses(head, out, labels, TeacherOutputs(image, text), rows)
        for image in (fly, cached, other)
    )
    assert a.keys() == b.keys()
    for term in a:
        rounding = HALF_PRECISION * max(1, abs(a[term].item()))
        assert a[term].item() == pytest.approx(b[term].item(), abs=rounding), term
    if method.needs_teacher:
        # Those of another view move some term by far more than half precision does.
        assert any(abs(a[term] - c[term]) > 5 * abs(a[term] - b[term]) for term in a)
    else:
        assert a["loss"].item() == b["loss"].item() == c["loss"].item()


def test_rows_not_asked_for_stay_empty_and_are_filled_later(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    half = replace(source, pixels=source.pixels[::2], rows=source.rows[::2])
    part = build(tmp_path, teacher, half)
    assert not part.embeddings[source.rows[1::2]].any()
    assert rows_done(tmp_path, teacher, source) == len(source.rows) - len(half.rows)
    full = build(tmp_path, teacher, source)
    assert full.folder == part.folder
    assert same(full, whole, source)


def test_a_finished_cache_computes_nothing(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    assert rows_done(tmp_path, teacher, source) == len(source.rows)
    assert rows_done(tmp_path, teacher, source) == 0


def test_an_exception_keeps_what_was_done(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, teacher, source, report=stop)
    left = rows_done(tmp_path, teacher, source)
    assert 0 < left <= len(source.rows) // 2
    assert same(build(tmp_path, teacher, source), whole, source)


@pytest.mark.parametrize("flush_seconds", [0.0, 1e9])
def test_killed_half_way_and_resumed_equals_uninterrupted(
    tmp_path: Path,
    whole: ViewCache,
    teacher: Teacher,
    source: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
    flush_seconds: float,
) -> None:
    monkeypatch.setattr(cache_files, "FLUSH_SECONDS", flush_seconds)

    def kill(done: int, total: int) -> None:
        if done > total // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = in_child(lambda: void(build(tmp_path, teacher, source, report=kill)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left = rows_done(tmp_path, teacher, source)
    # With a mark after every batch half is kept; with none nothing counts that may not be there.
    assert left == len(source.rows) if flush_seconds else 0 < left < len(source.rows)
    assert same(build(tmp_path, teacher, source), whole, source)


def void(value: object) -> None:
    """Drop a value, so that a lambda returns None."""


def test_two_processes_at_once_end_with_a_correct_cache(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    other = replace(source, pixels=source.pixels[5:], rows=source.rows[5:])
    pids = [
        in_child(lambda part=part: void(build(tmp_path, teacher, part)))  # type: ignore[misc]
        for part in (source, other)
    ]
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert rows_done(tmp_path, teacher, source) == 0
    assert same(build(tmp_path, teacher, source), whole, source)


def test_whoever_must_wait_is_told(tmp_path: Path, teacher: Teacher, source: ImageSet) -> None:
    from filelock import FileLock

    build(tmp_path, teacher, replace(source, pixels=source.pixels[:1], rows=source.rows[:1]))
    (folder,) = tmp_path.iterdir()
    lock = FileLock(folder / "locks" / "0")
    lock.acquire()
    build(tmp_path, teacher, source, waiting=lock.release)
    assert rows_done(tmp_path, teacher, source) == 0


def test_a_changed_image_is_computed_again(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    build(tmp_path, teacher, source)
    pixels = source.pixels.copy()
    pixels[3] = 255 - pixels[3]
    changed = replace(source, pixels=pixels)
    assert rows_done(tmp_path, teacher, changed) == 1
    rebuilt = build(tmp_path, teacher, changed)
    row = source.rows[3]
    assert not np.array_equal(rebuilt.embeddings[row], whole.embeddings[row])
    others = np.delete(source.rows, 3)
    assert np.array_equal(rebuilt.embeddings[others], whole.embeddings[others])
    # And back: the old pixels are not served from before.
    assert same(build(tmp_path, teacher, source), whole, source)


def test_everything_the_numbers_depend_on_names_the_folder(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    folders = [
        whole.folder.name,
        build(tmp_path, teacher, source, spec=replace(SPEC, seed=2)).folder.name,
        build(tmp_path, teacher, source, spec=replace(SPEC, hue=0.2)).folder.name,
        build(tmp_path, teacher, source, normalization=(IMAGENET_MEAN, IMAGENET_STD)).folder.name,
        build(tmp_path, replace(teacher, fingerprint="other"), source).folder.name,
        build(tmp_path, teacher, replace(source, paths=source.paths[::-1])).folder.name,
        build_view_cache(tmp_path, teacher, source, SPEC, COUNT + 1, batch=6).folder.name,
        build_view_cache(tmp_path, teacher, source, SPEC, COUNT, batch=9).folder.name,
    ]
    assert len(set(folders)) == len(folders)
    header = json.loads((whole.folder / "header.json").read_text())
    assert header["weights"] == teacher.fingerprint and header["views"]["seed"] == 1
    # Two views more are no whole image more.
    assert header["batch"] == 6
    other = build_view_cache(tmp_path, teacher, source, SPEC, COUNT, batch=8)
    assert other.folder.name == whole.folder.name


def test_students_normalization_changes_the_numbers(
    tmp_path: Path, whole: ViewCache, teacher: Teacher, source: ImageSet
) -> None:
    other = build(tmp_path, teacher, source, normalization=(IMAGENET_MEAN, IMAGENET_STD))
    assert not same(other, whole, source)


@pytest.mark.parametrize("file", ["embeddings.f16", "blocks/0.u64"])
def test_a_file_of_the_wrong_size_is_refused(
    tmp_path: Path, teacher: Teacher, source: ImageSet, file: str
) -> None:
    path = build(tmp_path, teacher, source).folder / file
    with open(path, "ab") as handle:
        handle.write(b"x")
    with raises(DamagedCacheError, path, "edgedistill cache clear"):
        build(tmp_path, teacher, source)


def test_a_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    (tmp_path / "file").write_text("")
    with raises(CacheError, tmp_path / "file", "EDGEDISTILL_CACHE"):
        build(tmp_path / "file" / "below", teacher, source)


def test_embeddings_cannot_be_overwritten_by_a_reader(whole: ViewCache) -> None:
    with pytest.raises(ValueError, match="read-only"):
        whole.embeddings[0, 0, 0] = 1


def test_the_teacher_is_shown_the_same_pixels_cached_and_on_the_fly(
    tmp_path: Path, teacher: Teacher, source: ImageSet
) -> None:
    shown: list[torch.Tensor] = []

    class Looking(Teacher):
        def encode_images(self, pixels: torch.Tensor, *more: Any) -> torch.Tensor:
            shown.extend(pixels)
            return super().encode_images(pixels, *more)

    looking = Looking(**vars(teacher))
    n = len(source.rows)
    # One image at a time: nothing is added to fill a batch.
    build_view_cache(tmp_path, looking, source, SPEC, COUNT, batch=COUNT)
    assert len(shown) == n * COUNT
    cached = {(i // COUNT, i % COUNT): image for i, image in enumerate(shown)}
    shown.clear()
    positions, views = np.array([5, 0, 5, n - 1]), np.array([1, 0, 0, 1])
    embed_views(looking, source, positions, views, SPEC, None)
    for image, key in zip(shown, zip(positions, views, strict=True), strict=True):
        assert torch.allclose(image, cached[key], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("count", "batch", "at_once"), [(3, 2, 2), (3, 7, 6), (2, 4, 4)])
def test_the_teacher_is_never_shown_more_views_at_once_than_it_may_be(
    tmp_path: Path, teacher: Teacher, source: ImageSet, count: int, batch: int, at_once: int
) -> None:
    shown: list[int] = []

    class Counting(Teacher):
        def encode_images(self, pixels: torch.Tensor, *more: Any) -> torch.Tensor:
            shown.append(len(pixels))
            return super().encode_images(pixels, *more)

    counting = Counting(**vars(teacher))
    built = build_view_cache(tmp_path, counting, source, SPEC, count, batch=batch)
    header = json.loads((built.folder / "header.json").read_text())
    assert max(shown) == header["batch"] == at_once
    positions = np.repeat(np.arange(len(source.rows)), count)
    views = np.tile(np.arange(count), len(source.rows))
    expected = embed_views(teacher, source, positions, views, SPEC, None)
    embeddings = torch.from_numpy(built.embeddings[source.rows].astype(np.float32))
    assert torch.allclose(embeddings.flatten(0, 1), expected, atol=6e-4, rtol=0)


def test_memory_does_not_grow_with_the_images(tmp_path: Path, teacher: Teacher) -> None:
    side = 100

    def peak(images: int) -> int:
        rows = np.arange(images)
        source = ImageSet.lazy(
            lambda wanted: np.zeros((len(wanted), side, side, 3), np.uint8),
            tuple(f"a/b/{i}" for i in range(images)),
            rows,
            side,
            rows.astype(np.uint64) + 1,
        )
        tracemalloc.start()
        build_view_cache(tmp_path / str(images), teacher, source, SPEC, 2, batch=64)
        _, traced_peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return traced_peak

    peak(32)
    small, large = peak(64), peak(320)
    # The pixels alone of the images that were added are 7.7 MB.
    assert large - small < 5e5
