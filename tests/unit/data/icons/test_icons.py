"""The embedded benchmark of icons."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from culprits import raises

pytest.importorskip("justmyresource_mdi")
pytest.importorskip("tablericons")
pytest.importorskip("justmyresource_phosphor")
pytest.importorskip("fontTools")
pytest.importorskip("resvg_py")

from edgedistill.data.drawn.pool import read_pool
from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.data.icons import dataset as icons
from edgedistill.data.icons import pool
from edgedistill.data.icons.catalogue import MOST, Icon, catalogue, unclassified
from edgedistill.data.icons.classes import CLASSES, KNOWN, UNKNOWN
from edgedistill.data.icons.packs import PACKS
from edgedistill.data.index import Index
from edgedistill.data.protocols.split import make_split
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import MissingPackageError
from edgedistill.runtime.preprocess import read_rgb


@pytest.fixture(scope="module")
def every() -> list[Icon]:
    return catalogue()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = tmp_path_factory.mktemp("icons")
    icons.build_icons(root, limit=2)
    return read_folder(root)


def test_the_tree_is_an_ordinary_dataset(small: Index) -> None:
    assert small.domains == ("mdi", "tabler", "phosphor", "remix")
    assert set(small.classes) == {cls.folder for cls in CLASSES}
    assert set(small.unknown) == {cls.folder for cls in UNKNOWN}
    assert small.names["house"] == ("house", "home")
    assert len(set(zip(small.domain.tolist(), small.label.tolist(), strict=True))) == 4 * 16


def test_every_picture_is_a_black_drawing_on_white(small: Index) -> None:
    for row in range(len(small)):
        pixels = read_rgb(small.path(row), None).astype(int)
        assert pixels.shape == (128, 128, 3), small.paths[row]
        assert np.ptp(pixels, axis=2).max() == 0, small.paths[row]
        assert pixels.min() == 0 and (pixels == 255).mean() > 0.2, small.paths[row]
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.min() > 250, small.paths[row]


def test_every_vendor_s_heart_is_whole_and_stands_on_its_point(every: list[Icon]) -> None:
    hearts = {icon.domain: icon for icon in every if icon.path.endswith("/heart/heart.filled.png")}
    assert set(hearts) == set(icons.DOMAINS)
    for icon in hearts.values():
        dark = np.asarray(on_white(rasterise(icon.svg, 64)))[..., 0] < 128
        rows, columns = dark.any(axis=1), dark.any(axis=0)
        # Fills most of its square, as wide above as it is pointed below, the same on both sides.
        assert 0.6 < rows.mean() < 1 and 0.6 < columns.mean() < 1, icon.path
        assert dark[:32].sum() > 1.4 * dark[32:].sum(), icon.path
        assert (dark == dark[:, ::-1]).mean() > 0.95, icon.path


def test_variants_of_a_glyph_lie_on_one_side_of_the_split(small: Index) -> None:
    split = make_split(small, target="remix", val_fraction=0.5)
    side = {int(row): "train" for row in split.train} | {int(row): "val" for row in split.val}
    sides = defaultdict(set)
    variants: Counter[tuple[int, str]] = Counter()
    for row, name in side.items():
        glyph = (int(small.label[row]), small.instance(row))
        sides[glyph].add(name)
        variants[glyph] += 1
    assert max(variants.values()) > 1
    assert {len(names) for names in sides.values()} == {1}
    assert {"train", "val"} == set().union(*sides.values())


def test_every_class_has_glyphs_of_every_vendor_and_none_twice(every: list[Icon]) -> None:
    assert len({icon.path for icon in every}) == len(every) == 1847
    glyphs = {(icon.domain, icon.folder, icon.glyph) for icon in every}
    # A glyph is in one class.
    assert len({(domain, glyph) for domain, _, glyph in glyphs}) == len(glyphs)
    per_class = Counter((domain, folder) for domain, folder, _ in glyphs)
    assert len(per_class) == len(PACKS) * len(CLASSES)
    assert min(per_class.values()) >= 3
    assert max(per_class.values()) == MOST


def test_no_class_says_or_shows_another(every: list[Icon]) -> None:
    names = [name for cls in CLASSES for name in cls.names]
    assert len(set(names)) == len(names)
    assert not {cls.folder for cls in KNOWN} & {cls.folder for cls in UNKNOWN}
    folders = {icon.glyph for icon in every if icon.folder == "folder"}
    assert folders and not any("lock" in glyph.split("-") for glyph in folders)


def test_what_is_left_out_by_name_is_there_to_be_left_out() -> None:
    glyphs = {f"{pack.domain}/{glyph}" for pack in PACKS for glyph in pack.glyphs()}
    for cls in CLASSES:
        assert cls.without <= glyphs, cls.folder


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with raises(MissingPackageError, "icons", "justmyresource_mdi", "edgedistill[demo]"):
        icons.load_icons()


def test_the_cache_folder_says_which_art_it_is_drawn_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    before = icons.icons_root()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    after = icons.icons_root()
    assert before.parent == after.parent == tmp_path
    assert before != after


def test_no_icon_of_the_pool_has_a_word_of_a_class(every: list[Icon], tmp_path: Path) -> None:
    icons_of_none = unclassified(200)
    of_classes = {(icon.domain, icon.glyph) for icon in every}
    assert not {(icon.domain, icon.glyph) for icon in icons_of_none} & of_classes
    words = {word for icon in icons_of_none for word in icon.glyph.split("-")}
    assert not words & {head for cls in CLASSES for head in cls.heads}
    assert len({icon.domain for icon in icons_of_none}) == 4
    pool.build_icon_pool(tmp_path, limit=1)
    index = read_pool(tmp_path, icons.DOMAINS)
    assert set(index.domain) == {0, 1, 2, 3}
    assert read_rgb(index.path(0), None).shape == (128, 128, 3)
