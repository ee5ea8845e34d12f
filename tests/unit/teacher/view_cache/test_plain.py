"""Plain embeddings: the teacher's own, asked for once, whoever asks and whatever is added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from culprits import raises

from edgedistill.callbacks import Callback, Progress, reporting
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import CacheError, WeightsError
from edgedistill.teacher.open_clip import Teacher, load_teacher
from edgedistill.teacher.text import build_text_bank
from edgedistill.teacher.view_cache.plain import (
    build_plain_cache,
    embed_images,
    locate_plain_cache,
    open_plain_cache,
    plain_disagreement,
    plain_embeddings,
)
from edgedistill.teacher.zero_shot import zero_shot

BATCH = 5


@pytest.fixture(scope="module")
def teacher(tiny_clip: Path) -> Teacher:
    return load_teacher(f"local-dir:{tiny_clip}", "", torch.device("cpu"))


@pytest.fixture(scope="module")
def images(shapes: Path) -> Callable[[slice], ImageSet]:
    """Some images of the dataset at the teacher's size."""
    index = read_folder(shapes)
    store = open_store(index, 32)
    return lambda rows: store.images(np.arange(len(index))[rows])


class Work(Callback):
    """Names and counts of the progress that ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, int, int]] = []

    def on_progress(self, progress: Progress) -> None:
        if progress.ended:
            self.ended.append((progress.name, progress.done, progress.total))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """What is reported of the work in an empty cache folder."""
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    return Work()


def test_they_are_the_teachers_own(
    work: Work, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    some = images(slice(3, 90, 7))
    embeddings = plain_embeddings(teacher, some, batch=BATCH)
    assert embeddings.dtype == np.float32 and embeddings.shape == (len(some), teacher.width)
    np.testing.assert_allclose(embeddings, embed_images(teacher, some[:]).numpy(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_the_teacher_is_asked_about_each_image_once(
    work: Work, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    with reporting([work]):
        first = plain_embeddings(teacher, images(slice(0, 20)), batch=BATCH, name="some")
        both = plain_embeddings(teacher, images(slice(10, 31)), batch=BATCH, name="more")
        again = plain_embeddings(teacher, images(slice(0, 31)), batch=BATCH, name="all")
    assert work.ended == [("some", 20, 20), ("more", 11, 11), ("all", 0, 0)]
    assert np.array_equal(again, np.concatenate([first, both[10:]]))


def test_the_numbers_do_not_depend_on_who_asked_first(
    tmp_path: Path, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    everything = images(slice(0, 23))
    at_once = build_plain_cache(tmp_path / "a", teacher, everything, batch=BATCH)
    for start in (20, 3, 0):
        parts = build_plain_cache(tmp_path / "b", teacher, images(slice(start, 23)), batch=BATCH)
    assert at_once.folder.name == parts.folder.name
    assert np.array_equal(at_once.lookup(everything.rows), parts.lookup(everything.rows))


def test_zero_shot_answers_are_the_same_from_the_cache(
    work: Work, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    text = build_text_bank(
        teacher.encode_texts, [["circle"], ["cross", "x"]], ["a {}"], "best", teacher.logit_scale
    )
    labelled = LabelledImages(images(slice(0, 30)), np.zeros(30, np.int64))
    asked = zero_shot(teacher, text, labelled)
    cached = zero_shot(teacher, text, labelled, open_plain_cache(teacher, labelled.images))
    assert np.array_equal(asked.predictions, cached.predictions)
    np.testing.assert_allclose(cached.scores, asked.scores, atol=1e-6)
    np.testing.assert_allclose(cached.probabilities.highest, asked.probabilities.highest, atol=1e-6)


def test_a_changed_image_is_asked_about_again(
    tmp_path: Path, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    some = images(slice(0, 6))
    before = build_plain_cache(tmp_path, teacher, some, batch=BATCH).lookup(some.rows)
    changed = ImageSet.from_array(some[:].copy(), some.paths, some.rows)
    changed.pixels[4] = 255 - changed.pixels[4]  # type: ignore[index]
    asked: list[int] = []
    after = build_plain_cache(
        tmp_path, teacher, changed, batch=BATCH, report=lambda done, total: asked.append(total)
    ).lookup(some.rows)
    assert asked == [1]
    assert np.flatnonzero((before != after).any(1)).tolist() == [4]


def test_a_spot_check_finds_numbers_of_another_teacher(
    work: Work, teacher: Teacher, shapes: Path
) -> None:
    index = read_folder(shapes)
    store = open_store(index, 32)
    rows = np.arange(20)
    open_plain_cache(teacher, store.images(rows), batch=BATCH)
    files = locate_plain_cache(teacher, index.paths, BATCH)
    assert plain_disagreement(teacher, store, files) < 1e-6
    vectors = np.memmap(files.embeddings_file, np.float32, "r+").reshape(len(index), -1)
    vectors[:20] = vectors[:20][::-1].copy()
    vectors.flush()
    assert plain_disagreement(teacher, store, files) > 1e-3
    with raises(CacheError, files.embeddings_file, "20 images"):
        open_plain_cache(teacher, store.images(rows), batch=BATCH)


def test_an_embedding_that_is_not_finite_is_refused(
    tmp_path: Path, teacher: Teacher, images: Callable[[slice], ImageSet]
) -> None:
    some = images(slice(0, 3))
    broken = replace(teacher, std=(1e-38, 1e-38, 1e-38))
    with raises(WeightsError, teacher.name, some.paths[0]):
        build_plain_cache(tmp_path, broken, some, batch=BATCH)


def test_images_of_another_size_are_a_mistake_of_the_caller(
    tmp_path: Path, teacher: Teacher, shapes: Path
) -> None:
    other = open_store(read_folder(shapes), 36).images(np.arange(2))
    with pytest.raises(ValueError, match="36 px"):
        build_plain_cache(tmp_path, teacher, other)
