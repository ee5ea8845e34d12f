"""Drawing of SVG to pixels."""

from __future__ import annotations

import numpy as np
import pytest
from culprits import raises

pytest.importorskip("resvg_py")

from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.errors import DataError

HALF = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><path d="M0 0h1v2H0z"/></svg>'


def test_a_drawing_fills_its_square_in_black_on_white() -> None:
    pixels = np.asarray(on_white(rasterise(HALF, 8)))
    assert pixels.shape == (8, 8, 3)
    assert pixels[:, :4].max() == 0
    assert pixels[:, 4:].min() == 255


def test_a_drawing_that_is_no_square_keeps_its_shape() -> None:
    wide = HALF.replace("0 0 2 2", "0 0 4 2")
    assert rasterise(wide, 8).size == (8, 4)


def test_a_rasteriser_that_ignores_the_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import resvg_py

    draw = resvg_py.svg_to_bytes
    monkeypatch.setattr(
        resvg_py, "svg_to_bytes", lambda **options: draw(**{**options, "width": 5, "height": 5})
    )
    with raises(DataError, "resvg-py", "5 x 5", "8 pixels"):
        rasterise(HALF, 8)
