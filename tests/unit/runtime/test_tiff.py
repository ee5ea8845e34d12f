from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiff_files import (
    BLACK_IS_ZERO,
    CMYK,
    FLOAT,
    PALETTE,
    RGB,
    SIGNED,
    WHITE_IS_ZERO,
    tiff,
    torn_tiff,
)

from edgedistill.runtime.preprocess import ImageFault, ImageProblem, read_rgb


def read(folder: Path, data: bytes) -> np.ndarray:
    (folder / "a.tif").write_bytes(data)
    return read_rgb(folder / "a.tif", None)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("color_model", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_gray_of_every_depth_spans_black_to_white(
    tmp_path: Path, color_model: int, depth: int, big_endian: bool
) -> None:
    highest = 2**depth - 1
    row = [0, highest // 3, highest // 2, highest] * 2
    pixels = read(tmp_path, tiff(row, depth, color_model, big_endian=big_endian))
    shares = np.array(row) / highest
    gray = 255 * (shares if color_model == BLACK_IS_ZERO else 1 - shares)
    assert np.abs(pixels - gray[:, None]).max() <= 0.5


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
def test_colors_inks_palettes_and_alpha(tmp_path: Path, depth: int, big_endian: bool) -> None:
    highest = 2**depth - 1

    def first(row: list[int], model: int, **tags: int) -> list[int]:
        data = tiff(row * 4, depth, model, big_endian=big_endian, **tags)
        pixel: list[int] = read(tmp_path, data)[0, 0].tolist()
        return pixel

    assert first([highest, 0, highest], RGB, samples=3) == [255, 0, 255]
    assert first([highest, 0, 0, 0], CMYK, samples=4) == [0, 255, 255]
    # The fourth sample is no alpha (0), premultiplied (1) or straight alpha (2).
    assert first([highest, 0, 0, 0], RGB, samples=4, alpha=0) == [255, 0, 0]
    assert first([0, 0, 0, 0], RGB, samples=4, alpha=1) == [255, 255, 255]
    assert first([highest, 0, 0, 0], RGB, samples=4, alpha=2) == [255, 255, 255]
    palette = [0, 65535, *[0] * 14, *[0] * 16, 65535, *[0] * 15]
    pixels = read(tmp_path, tiff([0, 1], 4, PALETTE, palette=palette, big_endian=big_endian))
    assert pixels[0].tolist() == [[0, 0, 255], [255, 0, 0]]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (tiff([0, 200], 8, BLACK_IS_ZERO, sample_format=SIGNED), "pixel type"),
        (tiff([0, -5], 16, BLACK_IS_ZERO, sample_format=SIGNED), "pixel type"),
        (tiff([0, 2**31], 32, BLACK_IS_ZERO), "pixel type"),
        (tiff([0.0, 1.0], 32, BLACK_IS_ZERO, sample_format=FLOAT), "pixel type"),
        # Kinds for which Pillow has no decoder.
        (tiff([0, 1], 32, WHITE_IS_ZERO), "no image"),
        (tiff([0, 1] * 2, 16, BLACK_IS_ZERO, samples=2, alpha=2), "no image"),
    ],
    ids=["int8", "int16", "uint32", "float32", "uint32 white is zero", "uint16 with alpha"],
)
def test_pixels_without_an_agreed_range_or_a_decoder(
    tmp_path: Path, data: bytes, fault: ImageFault
) -> None:
    with pytest.raises(ImageProblem) as caught:
        read(tmp_path, data)
    assert caught.value.fault == fault


def test_signed_pixels_that_are_not_negative(tmp_path: Path) -> None:
    row = [0, 100, 127]
    pixels = read(tmp_path, tiff(row, 8, BLACK_IS_ZERO, sample_format=SIGNED))
    assert pixels[0, :, 0].tolist() == row


def test_libtiff_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageProblem) as caught:
        read(tmp_path, torn_tiff())
    assert caught.value.fault == "undecodable"
    assert capfd.readouterr() == ("", "")
