"""Decoding and resizing of images to RGB bytes, the same for training, evaluation and devices.

THE resize rule of the project, `RESIZE_RULE` in exported files: the whole image is resized to
size x size, straight, without keeping the aspect ratio, by Pillow's antialiased bilinear filter,
to the new width first and then to the new height (no `reducing_gap`, no JPEG `draft` mode, whose
shortcuts change pixels). Embedded colour profiles are ignored. A device that decodes with Pillow
and resizes by this rule feeds the student exactly what it was trained on.

Memory is bounded whatever the file says: its size and its number of pixels are limited before
anything is decoded, and what needs more than the picture itself works in strips.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from edgedistill.runtime.png import load_png, without_extras
from edgedistill.runtime.strips import strips
from edgedistill.runtime.tiff import extend_pillow, gray_range, has_negative_bytes, is_tiff

# Names this module's rule in exported files: raise the number when any pixel changes.
RESIZE_RULE = "pillow-bilinear-stretch/1"
MAX_PIXELS = 178_000_000
# Some of Pillow's decoders take the whole file into memory before they look at its header.
MAX_FILE_BYTES = 2**31
RESAMPLING = Image.Resampling.BILINEAR

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A phone's JPEG may hold a second picture (MPO); that one is no animation.
_ANIMATED_FORMATS = frozenset({"GIF", "WEBP", "PNG", "TIFF"})
# Pillow hands these to another program (Ghostscript) or to the system to draw.
_DRAWN_FORMATS = frozenset({"EPS", "WMF"})
# Pillow knows their headers, but has no decoder for what follows.
_UNDECODED_FORMATS = frozenset({"BUFR", "GRIB", "HDF5", "MPEG"})
# Pillow's own errors about a broken file have no number; for a broken offset in it, the system is
# asked to seek before the file's beginning.
_ERRNO_OF_BROKEN_FILES = frozenset({None, errno.EINVAL})


ImageFault = Literal[
    "missing", "no file", "empty", "too large", "no image", "undecodable", "no pixels", "drawing",
    "pixel type", "machine",
]  # fmt: skip


class ImageProblem(Exception):
    """A file that is no usable image; the message is the reason in one line, without the path.

    Attributes:
        fault: the kind of reason; it stays from release to release, while the message may not.
    """

    def __init__(self, message: str, fault: ImageFault = "undecodable") -> None:
        super().__init__(message)
        self.fault = fault


class ReadProblem(ImageProblem):
    """The machine failed to read the file (permission, disk, memory): its picture may be fine."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "machine")


def is_image(name: str) -> bool:
    """Whether a file in a listing counts as an image: not hidden, with one of `image_suffixes`."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in image_suffixes()


@cache
def image_suffixes() -> frozenset[str]:
    """Suffixes of images in the listing of a folder: those of the formats that Pillow decodes.

    With pillow-heif installed, .heic and its like are among them. A file given by name may be
    called anything.
    """
    _prepare_pillow()
    # MPO is JPEG with a second picture; Pillow opens it as JPEG.
    suffixes = Image.registered_extensions()
    decoded = {*Image.OPEN, "MPO"} - _DRAWN_FORMATS - _UNDECODED_FORMATS
    return frozenset(s for s, image_format in suffixes.items() if image_format in decoded)


@cache
def _prepare_pillow() -> None:
    extend_pillow()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def read_rgb(path: str | Path, size: int | None) -> NDArray[np.uint8]:
    """Decode an image file to uint8 RGB.

    EXIF rotation is applied, transparency is composited on white, grayscale of 12 and 16 bits is
    scaled to 8, of an animation or a multi-page file the first frame is taken.

    Args:
        path: the file.
        size: side to resize to by the project's rule; None keeps the image's own size.

    Returns:
        uint8 [size, size, 3], or [H, W, 3] when size is None.

    Raises:
        ImageProblem: missing, empty, truncated, too large, or not an image Pillow knows.
        ReadProblem: an ImageProblem that may be gone at the next try.
    """
    return read_rgb_noted(path, size)[0]


def read_rgb_noted(path: str | Path, size: int | None) -> tuple[NDArray[np.uint8], str | None]:
    """`read_rgb` with a line about what was left out of the picture, None for most files."""
    path = Path(path)
    _prepare_pillow()
    with _as_problems():
        _refuse_file(path)
        try:
            return _read(path, size)
        except (ImageProblem, Image.DecompressionBombError, MemoryError):
            raise
        except Exception as error:
            if _failed_by_machine(error):
                raise
            # Text or a colour profile that Pillow refuses is no part of the picture.
            bare = without_extras(path)
            if bare is not None:
                return _read(bare, size)
            if isinstance(error, Image.UnidentifiedImageError) and is_tiff(path):
                raise ImageProblem(
                    "a damaged TIFF, or one of a pixel type that Pillow does not decode; convert "
                    "it to 8 or 16 bits",
                    "no image",
                ) from error
            raise


def _read(file: Path | IO[bytes], size: int | None) -> tuple[NDArray[np.uint8], str | None]:
    with Image.open(file) as image:
        several = image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False)
        pixels = _to_array(image, size)
    return pixels, "has several frames, the first is used" if several else None


def to_rgb(image: Image.Image, size: int | None) -> NDArray[np.uint8]:
    """`read_rgb` for an image that Pillow has opened, loaded or not, or that a program drew.

    Raises:
        ImageProblem: as `read_rgb` does.
    """
    with _as_problems():
        return _to_array(image, size)


@contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except ImageProblem:
        raise
    except Image.DecompressionBombError as error:
        raise ImageProblem(f"larger than {MAX_PIXELS // 10**6} megapixels", "too large") from error
    except FileNotFoundError as error:
        raise ImageProblem("no such file", "missing") from error
    except Image.UnidentifiedImageError as error:
        raise ImageProblem("not an image", "no image") from error
    except MemoryError as error:
        raise ReadProblem("too little memory to decode it") from error
    except Exception as error:
        if isinstance(error, OSError) and _failed_by_machine(error):
            raise ReadProblem(f"cannot be read: {error.strerror}") from error
        # Pillow's decoders raise a dozen types (OSError, SyntaxError, struct.error, ...) on
        # broken files; each of them means the same to the caller: this file has no picture.
        line = " ".join(str(error).split()) or type(error).__name__
        raise ImageProblem(f"cannot be decoded: {line}", "undecodable") from error


def _failed_by_machine(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno not in _ERRNO_OF_BROKEN_FILES


def _refuse_file(path: Path) -> None:
    status = os.stat(path)
    # Opening a pipe that nobody writes to would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ImageProblem(kind, "no file")
    if status.st_size == 0:
        raise ImageProblem("the file is empty", "empty")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageProblem(f"larger than {MAX_FILE_BYTES // 2**30} GiB", "too large")


def _to_array(image: Image.Image, size: int | None) -> NDArray[np.uint8]:
    if image.width * image.height > MAX_PIXELS:
        raise ImageProblem(
            f"{image.width} x {image.height} is larger than {MAX_PIXELS // 10**6} megapixels",
            "too large",
        )
    if 0 in image.size:
        raise ImageProblem(f"{image.width} x {image.height} has no pixels", "no pixels")
    if image.format in _DRAWN_FORMATS:
        raise ImageProblem(f"a drawing ({image.format}), not pixels; convert it to PNG", "drawing")
    if isinstance(image, PngImageFile):
        load_png(image)
    else:
        image.load()
    # Read after load: Pillow turns a TIFF upright itself while loading and drops the tag.
    turn = _UPRIGHT.get(_orientation(image))
    rgb = _to_rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    return np.array(rgb if size is None else _stretch(rgb, size), dtype=np.uint8)


def _stretch(rgb: Image.Image, size: int) -> Image.Image:
    """Stretch to size x size, columns before rows.

    One call of `resize` would take another order, and so round to other bytes, from one release
    of Pillow to the next (13 begins with the rows of tall pictures).
    """
    if size * rgb.height > MAX_PIXELS:
        raise ImageProblem(
            f"{rgb.width} x {rgb.height} is too tall to be resized to {size} px", "too large"
        )
    return rgb.resize((size, rgb.height), RESAMPLING).resize((size, size), RESAMPLING)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # A broken EXIF block says nothing about the picture, which is intact.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise _no_range("floating-point")
    if image.mode.startswith("I"):
        return _deep_gray_to_rgb(image)
    if has_negative_bytes(image):
        raise _no_range("negative")
    bands = image.getbands()
    if "A" in bands or "a" in bands or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgb = Image.new("RGB", image.size)
    for top, bottom in strips(image):
        strip = image.crop((0, top, image.width, bottom))
        rgba = strip.convert("LA").convert("RGBA") if strip.mode == "La" else strip.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, "white")
        rgb.paste(Image.alpha_composite(ground, rgba).convert("RGB"), (0, top))
    return rgb


def _deep_gray_to_rgb(image: Image.Image) -> Image.Image:
    """Grayscale of 12 or 16 bits (Pillow's modes I;16* and, from some formats, I) scaled to 8."""
    values = np.asarray(image)
    gray = np.empty(values.shape, np.uint8)
    black, white = gray_range(image)
    highest = max(black, white)
    key = image.info.get("transparency")
    for top, bottom in strips(image):
        strip = values[top:bottom].astype(np.int64)
        if strip.min() < 0 or strip.max() > highest:
            raise _no_range("negative and 32-bit")
        levels = strip if white else black - strip
        gray[top:bottom] = (levels * 255 + highest // 2) // highest
        if isinstance(key, int):
            gray[top:bottom][strip == key] = 255
    return Image.fromarray(gray).convert("RGB")


def _no_range(pixels: str) -> ImageProblem:
    return ImageProblem(
        f"{pixels} pixels have no agreed range; convert it to 8 or 16 bits", "pixel type"
    )
