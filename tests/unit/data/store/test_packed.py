"""Large stores: packed without loss, the same pixels as plain ones, and safe against edits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from edgedistill.data.images import pixel_hash
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import Store, open_store, store_folder
from edgedistill.data.store.packed import pack, unpack
from edgedistill.errors import DamagedCacheError

SIZE = 20


@pytest.fixture(scope="module")
def index(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The shapes by links, with one file that is no image and one domain of such files only."""
    root = tmp_path_factory.mktemp("links") / "data"
    for folder in sorted(shapes.glob("*/*")):
        below = root / folder.relative_to(shapes)
        below.mkdir(parents=True)
        for file in sorted(folder.iterdir())[:3]:
            (below / file.name).symlink_to(file)
    (root / "night" / "star" / "99.png").write_bytes(b"")
    (root / "zero" / "star").mkdir(parents=True)
    (root / "zero" / "star" / "0.png").write_bytes(b"")
    return read_folder(root)


@pytest.fixture
def plain(index: Index, tmp_path: Path) -> Store:
    return open_store(index, SIZE, tmp_path / "plain", workers=2)


@pytest.fixture
def packed(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("edgedistill.data.store.image_store.PACK_ABOVE", 0)
    return open_store(index, SIZE, tmp_path / "packed", workers=2)


@given(arrays(np.uint8, st.integers(1, 40).map(lambda side: (side, side, 3))))
@settings(max_examples=60, deadline=None)
def test_packing_loses_nothing(image: np.ndarray) -> None:
    assert np.array_equal(unpack(pack(image), len(image)), image)


def test_packed_and_plain_stores_give_the_same_pixels(
    plain: Store, packed: Store, index: Index
) -> None:
    assert list(packed.folder.glob("*.webps")) and not list(plain.folder.glob("*.webps"))
    rows = np.random.default_rng(0).permutation(len(index))
    assert np.array_equal(packed.gather(rows), plain.gather(rows))
    assert np.array_equal(packed.hashes, plain.hashes)
    assert np.array_equal(packed.readable, plain.readable)
    assert packed.problems() == plain.problems() != ()
    known = rows[index.domain[rows] != index.domains.index("zero")]
    a, b = packed.images(known), plain.images(known)
    assert np.array_equal(a.rows, b.rows) and np.array_equal(a[:], b[:])


def test_a_packed_store_is_smaller(plain: Store, packed: Store) -> None:
    def size(folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.glob("domain*"))

    assert size(packed.folder) < size(plain.folder)


def test_large_selections_of_a_packed_store_are_decoded_as_they_are_used(
    plain: Store, packed: Store, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.flatnonzero(plain.readable)[::-1]
    monkeypatch.setattr("edgedistill.data.store.image_store.RAM_LIMIT", 0)
    images = packed.images(rows)
    assert images.pixels is None
    expected = plain.gather(rows)
    some = np.array([7, 0, 7, len(rows) - 1])
    assert np.array_equal(images[some], expected[some])
    assert np.array_equal(images[3:9], expected[3:9])
    assert np.array_equal(images[:], expected)
    assert images.hashes().tolist() == [pixel_hash(image) for image in expected]


def flip(file: Path, at: int) -> None:
    with open(file, "r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)
        handle.seek(at)
        handle.write(bytes([byte[0] ^ 1]))


def test_edited_pixels_are_found(plain: Store, index: Index) -> None:
    assert plain.damaged_rows().tolist() == []
    flip(plain.folder / "domain1.npy", 128 + SIZE * SIZE * 3 * 4 + 5)
    again = Store(index, SIZE, plain.folder)
    row = int(np.flatnonzero(index.domain == 1)[4])
    assert again.damaged_rows().tolist() == [row]
    for rows in (np.array([row, 0]), np.flatnonzero(index.domain == 1)):
        with raises(DamagedCacheError, "1 images", index.paths[row]) as caught:
            again.images(rows)
        assert caught.value.cache == plain.folder.name
    again.images(np.array([row + 1, 0]))


def test_edited_packed_bytes_are_found_and_refused(packed: Store, index: Index) -> None:
    assert packed.damaged_rows().tolist() == []
    # The four letters that every picture begins with.
    flip(packed.folder / "domain2.webps", 1)
    row = int(np.flatnonzero(index.domain == 2)[0])
    again = Store(index, SIZE, packed.folder)
    assert again.damaged_rows().tolist() == [row]
    with raises(DamagedCacheError, packed.folder / "domain2.webps") as caught:
        again.gather(np.array([row]))
    assert caught.value.cache == packed.folder.name
    assert again.gather(np.array([row + 1])).any()


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def garble(file: Path) -> None:
    file.write_bytes(b"{}")


def test_too_little_memory_does_not_pass_for_edited_bytes(
    packed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(MemoryError):
        packed.gather(np.array([0]))


@pytest.mark.parametrize("name", ["report.json", "hashes.npy", "domain0.npy"])
@pytest.mark.parametrize("harm", [Path.unlink, shorten, garble])
def test_a_store_that_lost_something_is_refused(
    plain: Store, index: Index, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(plain.folder / name)
    with raises(DamagedCacheError, f"edgedistill cache clear {plain.folder.name}") as caught:
        open_store(index, SIZE, tmp_path / "plain")
    assert caught.value.cache == plain.folder.name


@pytest.mark.parametrize("name", ["domain0.ends.npy", "domain0.webps"])
@pytest.mark.parametrize("harm", [Path.unlink, shorten, garble])
def test_a_packed_store_that_lost_something_is_refused(
    packed: Store, index: Index, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(packed.folder / name)
    with raises(DamagedCacheError, f"edgedistill cache clear {packed.folder.name}"):
        open_store(index, SIZE, tmp_path / "packed").gather(np.arange(len(index)))


def test_the_folder_of_a_store_is_known_before_it_exists(index: Index, tmp_path: Path) -> None:
    folder = store_folder(index, SIZE, tmp_path)
    assert not folder.exists()
    assert open_store(index, SIZE, tmp_path).folder == folder
