from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from culprits import assert_names
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from edgedistill import callbacks
from edgedistill.data import fonts
from edgedistill.data.contact_sheet import contact_sheet
from edgedistill.data.datasets.load import load_dataset
from edgedistill.report.plots import confusion_matrix
from edgedistill.report.style import png

# Of a private-use area, so that no font of the machine has them.
ONLY_IN_NEW, IN_NONE = "\ue123", "\uf8f0"


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Nothing is remembered of the fonts before and after the test."""
    cached = (fonts.plot_families, fonts._escaped, fonts.font_file)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def new_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> Path:
    """A font that the system has besides its others: a filled square for one letter, and ASCII."""
    letters = [chr(code) for code in range(32, 127)] + [ONLY_IN_NEW]
    names = [".notdef", *(f"g{ord(letter):x}" for letter in letters)]
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.moveTo if place == (0, 0) else pen.lineTo)(place)
    pen.closePath()
    square, blank = pen.glyph(), TTGlyphPen(None).glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(x): name for x, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf({n: square if n == names[-1] else blank for n in names})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in names})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": "Squares Sans", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [*manager.ttflist])
    manager.addfont(path)
    return path


def dataset(folder: Path, name: str) -> Path:
    for domain in ("paint", "photo"):
        (folder / domain / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(folder / domain / name / "0.png")
    return folder


def test_a_letter_is_drawn_with_a_font_that_has_it(new_font: Path, tmp_path: Path) -> None:
    name = f"a{ONLY_IN_NEW}"
    recorder = Recorder()
    with callbacks.reporting([recorder]):
        assert fonts.drawable(name) == name
        assert fonts.font_file(name) == new_font
        sheet = contact_sheet(load_dataset(dataset(tmp_path / "data", name)))
        counts = np.eye(3, dtype=int)
        drawn = png(confusion_matrix(counts, [name, "b"]))
        without = png(confusion_matrix(counts, ["a ", "b"]))
    assert not recorder.warnings
    assert drawn != without
    # The square of the letter is black beside the white ground.
    assert (np.asarray(sheet.convert("L"))[24:, :40] < 64).sum() > 30


def test_a_letter_that_no_font_has_is_escaped_and_told_of_once(
    forgetful: None, tmp_path: Path
) -> None:
    name = f"x{IN_NONE}"
    recorder = Recorder()
    with callbacks.reporting([recorder]):
        assert fonts.drawable(name) == "x\\uf8f0"
        assert fonts.drawable(f"{IN_NONE}y") == "\\uf8f0y"
        index = load_dataset(dataset(tmp_path, name))
        contact_sheet(index)
        counts = np.eye(3, dtype=int)
        drawn = png(confusion_matrix(counts, [name, "b"]))
    (warning,) = recorder.warnings
    assert_names(warning, "x\\uf8f0")
    escaped = png(confusion_matrix(counts, ["x\\uf8f0", "b"]))
    assert drawn == escaped


def test_every_piece_of_work_is_told_of_missing_letters(forgetful: None) -> None:
    recorder = Recorder()
    for _ in range(2):
        with callbacks.reporting([recorder]):
            fonts.drawable(IN_NONE)
    assert len(recorder.warnings) == 2


def test_latin_greek_and_cyrillic_need_no_other_font(forgetful: None) -> None:
    recorder = Recorder()
    with callbacks.reporting([recorder]):
        for name in ("écureuil roux", "λύκος", "волк", "a b\tc"):
            assert fonts.drawable(name) == name
            assert fonts.plot_families(frozenset(name)) == (fonts.PLOT_FONT,)
    assert not recorder.warnings
