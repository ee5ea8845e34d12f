import errno
import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from culprits import assert_names
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from png_files import GRAY, RGB, color_key_png, png, wrong_checksum

from edgedistill.runtime.preprocess import (
    ImageFault,
    ImageProblem,
    ReadProblem,
    read_rgb,
    read_rgb_noted,
    to_rgb,
)

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def halves(width: int = 32, height: int = 16) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


@contextmanager
def image_problem(fault: ImageFault, *culprits: str) -> Iterator[None]:
    """The block meets an image with this fault; the line about it names the culprits."""
    with pytest.raises(ImageProblem) as caught:
        yield
    assert caught.value.fault == fault
    assert_names(str(caught.value), *culprits)


def near(pixel: np.ndarray, color: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.all(np.abs(pixel.astype(int) - color) <= tolerance))


def test_size_and_dtype(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    own, square = read_rgb(tmp_path / "a.png", None), read_rgb(tmp_path / "a.png", 8)
    assert own.shape == (16, 32, 3)
    assert square.shape == (8, 8, 3)
    assert own.dtype == square.dtype == np.uint8
    assert near(square[4, 0], RED)
    assert near(square[4, 7], BLUE)


def test_resize_is_pillows_bilinear_of_the_whole_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    whole = Image.open(tmp_path / "a.jpg").convert("RGB")
    want = np.asarray(whole.resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(read_rgb(tmp_path / "a.jpg", 20), want)


@pytest.mark.parametrize(
    ("width", "height", "size", "crc"),
    [
        # Tall: releases of Pillow differ in which side of these one call of `resize` begins with.
        (5, 90, 24, 0x89411C41),
        (30, 200, 24, 0x7D692640),
        (61, 431, 32, 0xECDF3458),
        (480, 1000, 224, 0xBDD1F8A8),
        # As wide, one side as it shall be, and enlarged.
        (300, 40, 24, 0xEBDC7529),
        (24, 100, 24, 0xEBBA6D11),
        (100, 24, 24, 0x20BDF0FA),
        (3, 2, 8, 0xF0C36AF4),
        (640, 480, 64, 0xD06BC2B9),
    ],
)
def test_every_pillow_gives_the_same_bytes(width: int, height: int, size: int, crc: int) -> None:
    """Recorded with Pillow 10.4, 12.0 and 13.0, which agree."""
    x, y, c = np.arange(width), np.arange(height)[:, None], np.arange(3)
    gray = (x * y + 7 * x + 13 * y)[..., None] * (c + 3) + (x // 5 * y // 3)[..., None] * 31 * c
    picture = Image.fromarray((gray % 256).astype(np.uint8))
    assert zlib.crc32(to_rgb(picture, size).tobytes()) == crc


def test_a_line_of_pixels_does_not_fill_the_memory(tmp_path: Path) -> None:
    """Its width alone would grow from 1 to 224 before its height shrinks."""
    Image.new("1", (1, 10**6)).save(tmp_path / "a.png")
    with image_problem("too large"):
        read_rgb(tmp_path / "a.png", 224)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    halves().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = read_rgb(tmp_path / "a.jpg", None)
    assert near(pixels[8, 2], RED, 40)
    assert near(pixels[8, 29], BLUE, 40)


def test_sixteen_bit_grayscale_is_scaled_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        pixels = read_rgb(tmp_path / name, None)
        assert np.array_equal(pixels[0, :, 0], np.arange(256))
        assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_palette_with_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (4, 0, 8, 8))
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_rgb(tmp_path / "a.png", None)
    assert near(pixels[0, 0], WHITE, 0)
    assert near(pixels[0, 7], GREEN, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (4, 0, 8, 8))
    image.putpixel((0, 0), (0, 0, 0, 128))
    image.convert(mode).save(tmp_path / "a.png")
    pixels = read_rgb(tmp_path / "a.png", None)
    assert near(pixels[0, 0], (127, 127, 127), 1)
    assert near(pixels[1, 1], WHITE, 0)
    assert near(pixels[0, 7], (0, 0, 0), 0)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grayscale_and_bilevel(tmp_path: Path, mode: str) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (4, 0, 8, 8))
    image.convert(mode).save(tmp_path / "a.png")
    pixels = read_rgb(tmp_path / "a.png", None)
    assert near(pixels[0, 0], (0, 0, 0), 0)
    assert near(pixels[0, 7], WHITE, 0)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "tif"])
def test_exif_rotation_is_applied_once(tmp_path: Path, extension: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{extension}"
    halves().save(path, exif=exif, **({"lossless": True} if extension == "webp" else {}))
    pixels = read_rgb(path, None)
    assert pixels.shape == (32, 16, 3)
    assert near(pixels[2, 8], RED)
    assert near(pixels[29, 8], BLUE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_reason_to_drop_an_image(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_rgb(tmp_path / "a.jpg", None).shape == (16, 32, 3)


@pytest.mark.parametrize("extension", ["gif", "webp", "png", "tif"])
def test_first_frame_of_an_animation_with_a_note(tmp_path: Path, extension: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, GREEN, BLUE)]
    path = tmp_path / f"a.{extension}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    pixels, note = read_rgb_noted(path, None)
    assert near(pixels[4, 4], RED)
    assert note == "has several frames, the first is used"


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), GREEN).save(tmp_path / "a.bmp")
    assert np.all(read_rgb(tmp_path / "a.bmp", 16) == GREEN)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b"this is no image", "no image"),
        (png_header(40_000, 40_000), "too large"),
        (png_header(16_000, 11_150), "too large"),
    ],
    ids=["empty", "text", "beyond Pillow's limit", "beyond ours"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_files(tmp_path: Path, content: bytes, fault: ImageFault) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with image_problem(fault):
        read_rgb(tmp_path / "a.png", 8)


def test_float_and_missing(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with image_problem("pixel type"):
        read_rgb(tmp_path / "a.tif", 8)
    with image_problem("missing"):
        read_rgb(tmp_path / "b.png", 8)


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "gif", "bmp", "tif"])
def test_truncated_files_are_problems(tmp_path: Path, extension: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"a.{extension}"
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageProblem):
        read_rgb(path, 8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_damage_raises_nothing_but_image_problem(data: st.DataObject) -> None:
    extension = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]))
    file = io.BytesIO()
    halves().save(file, extension)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as damaged:
        damaged.write(content)
        damaged.flush()
        try:
            pixels = read_rgb(damaged.name, 8)
        except ImageProblem as problem:
            assert "\n" not in str(problem)
        else:
            assert pixels.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), ReadProblem),
        (OSError(errno.EMFILE, "Too many open files"), ReadProblem),
        (MemoryError(), ReadProblem),
        # What Pillow says of broken files, and what seeking to a broken offset does.
        (OSError("image file is truncated"), ImageProblem),
        (OSError(errno.EINVAL, "Invalid argument"), ImageProblem),
        (ValueError("bad header"), ImageProblem),
    ],
)
def test_a_failing_machine_is_told_from_a_broken_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[ImageProblem],
) -> None:
    def failing(*args: object) -> None:
        raise error

    halves().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(ImageProblem) as caught:
        read_rgb(tmp_path / "a.png", 8)
    assert type(caught.value) is kind and "\n" not in str(caught.value)


def test_large_transparent_and_deep_pictures_are_as_small_ones(tmp_path: Path) -> None:
    """Above the size at which they are worked on in strips."""
    rng = np.random.default_rng(0)
    gray, alpha = rng.integers(0, 256, (2, 1100, 1200), dtype=np.uint8)
    Image.fromarray(np.stack([gray, alpha], 2), "LA").save(tmp_path / "a.png", compress_level=0)
    white = (gray * (alpha / 255) + 255 * (1 - alpha / 255)).round()
    assert np.abs(read_rgb(tmp_path / "a.png", None)[..., 1] - white).max() <= 1
    deep = rng.integers(0, 65536, (1100, 1200)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png", compress_level=0)
    assert np.array_equal(read_rgb(tmp_path / "b.png", None)[..., 2], (deep / 257).round())


def test_a_picture_in_memory_is_as_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().convert("RGBA").save(tmp_path / "a.png", exif=exif)
    for size in (None, 8):
        with Image.open(tmp_path / "a.png") as image:
            assert np.array_equal(to_rgb(image, size), read_rgb(tmp_path / "a.png", size))


def test_a_drawing_is_not_handed_to_another_program(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with image_problem("drawing", "EPS"):
        read_rgb(tmp_path / "a.png", 8)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    with image_problem("no file"):
        read_rgb(tmp_path, 8)
    os.mkfifo(tmp_path / "fifo")
    with image_problem("no file"):
        read_rgb(tmp_path / "fifo", 8)
    with (tmp_path / "film.png").open("wb") as file:
        file.truncate(2**31 + 1)
    with image_problem("too large"):
        read_rgb(tmp_path / "film.png", 8)


@pytest.mark.parametrize(
    ("depth", "color_type", "key", "other", "opaque"),
    [
        (1, GRAY, (0,), (1,), 255),
        (1, GRAY, (1,), (0,), 0),
        (2, GRAY, (1,), (2,), 170),
        (4, GRAY, (3,), (8,), 136),
        # 3 of 4 bits is 51 of 8; 51 of 8 is another.
        (8, GRAY, (3,), (51,), 51),
        (16, GRAY, (0x0900,), (0x8080,), 128),
        (16, GRAY, (0,), (1,), 0),
        (8, RGB, (9, 8, 7), (9, 8, 6), (9, 8, 6)),
        (16, RGB, (0x900, 0x900, 0x900), (0x8080, 0x8080, 0x8080), 128),
        # Alike in their high bytes, which are all that 8 bits have room for.
        (16, RGB, (0x900, 0x801, 0x702), (0x900, 0x801, 0x703), (9, 8, 7)),
    ],
)
def test_the_transparent_color_of_a_png_lies_on_white(
    tmp_path: Path,
    depth: int,
    color_type: int,
    key: tuple[int, ...],
    other: tuple[int, ...],
    opaque: int | tuple[int, ...],
) -> None:
    """Four pixels of the transparent color, then four of another."""
    (tmp_path / "a.png").write_bytes(color_key_png(depth, color_type, key, other))
    pixels = read_rgb(tmp_path / "a.png", None)
    assert np.all(pixels[:, :4] == 255)
    assert np.all(pixels[:, 4:] == opaque)


LARGE_TEXT = b"comment\0\0" + zlib.compress(bytes(2**21))
SOUND_WITH_EXTRAS = {
    "compressed text": png(8, 8, GRAY, bytes(range(8)), (b"zTXt", LARGE_TEXT)),
    "international text": png(
        8, 8, GRAY, bytes(range(8)), (b"iTXt", b"c\0\1\0\0\0" + zlib.compress(bytes(2**21)))
    ),
    "colour profile": png(8, 8, GRAY, bytes(range(8)), (b"iCCP", LARGE_TEXT)),
    "much text": png(8, 8, GRAY, bytes(range(8)), (b"tEXt", b"c\0" + b"x" * (2**26 + 1))),
    "checksum of a text": wrong_checksum(
        png(8, 8, GRAY, bytes(range(8)), (b"tEXt", b"c\0text")), b"tEXt"
    ),
    "short chunk": png(8, 8, GRAY, bytes(range(8)), (b"pHYs", b"")),
    "checksum of a gamma": wrong_checksum(
        png(8, 8, GRAY, bytes(range(8)), (b"gAMA", struct.pack(">I", 45455))), b"gAMA"
    ),
    "checksum of a transparent color": wrong_checksum(
        png(8, 8, GRAY, bytes(range(8)), (b"tRNS", struct.pack(">H", 3))), b"tRNS"
    ),
    "no transparent color": png(8, 8, GRAY, bytes(range(8)), (b"tRNS", b"")),
}


@pytest.mark.parametrize("name", list(SOUND_WITH_EXTRAS))
def test_what_is_no_part_of_a_png_picture_does_not_refuse_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(SOUND_WITH_EXTRAS[name])
    pixels = read_rgb(tmp_path / "a.png", None)
    assert np.array_equal(pixels, np.tile(np.arange(8)[:, None], (4, 1, 3)))


def test_the_transparent_color_stays_beside_a_large_text(tmp_path: Path) -> None:
    key = (b"tRNS", struct.pack(">H", 3))
    (tmp_path / "a.png").write_bytes(png(8, 4, GRAY, b"\x33\x88" * 2, (b"zTXt", LARGE_TEXT), key))
    assert read_rgb(tmp_path / "a.png", None)[0, :, 0].tolist() == [255, 255, 136, 136] * 2


@pytest.mark.parametrize("kind", [b"IHDR", b"IEND"])
def test_a_png_that_is_cut_stays_refused_beside_a_large_text(tmp_path: Path, kind: bytes) -> None:
    whole = png(64, 8, GRAY, os.urandom(64), (b"zTXt", LARGE_TEXT))
    (tmp_path / "a.png").write_bytes(whole[: whole.index(kind) - 30 if kind == b"IEND" else 20])
    with pytest.raises(ImageProblem):
        read_rgb(tmp_path / "a.png", None)
