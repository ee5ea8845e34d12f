"""TIFF files where Pillow's reading of them differs from the TIFF specification."""

import logging
from contextlib import suppress
from pathlib import Path

from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

_BITS_PER_SAMPLE, _COLOR_MODEL, _SAMPLE_FORMAT = 258, 262, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRAY_16 = 65535


def extend_pillow() -> None:
    """Let Pillow open all gray TIFFs of 12 and 16 bits, and keep it and libtiff off stderr.

    Pillow's table of pixel layouts has no line for those that are white at zero or in the other
    byte order, though it has the decoders; samples of 12 bits are packed alike in both orders.
    """
    for order in (TiffImagePlugin.II, TiffImagePlugin.MM):
        deep = "I;16B" if order == TiffImagePlugin.MM else "I;16"
        for color_model in (0, 1):
            for bits, layout in ((12, ("I;16", "I;12")), (16, (deep, deep))):
                key = (order, color_model, (1,), 1, (bits,), ())
                TiffImagePlugin.OPEN_INFO.setdefault(key, layout)
    # Its TIFF reader logs errors besides raising them; without any handler, Python prints those.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # Without effect where Python lacks ctypes, or Pillow hides the functions of its libtiff.
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        library = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.restype = ctypes.c_void_p
            function.argtypes = [ctypes.c_void_p]
            function(None)


def gray_range(image: Image.Image) -> tuple[int, int]:
    """Values of black and white in a picture of Pillow's modes I and I;16*."""
    if not isinstance(image, TiffImageFile):
        return 0, _GRAY_16
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))
    highest = 2**12 - 1 if bits == (12,) else _GRAY_16
    if image.tag_v2.get(_COLOR_MODEL) == _WHITE_IS_ZERO:
        return highest, 0
    return 0, highest


def has_negative_bytes(image: Image.Image) -> bool:
    """Whether it is a TIFF of signed 8-bit samples, some of which Pillow read as 128 and more."""
    if not isinstance(image, TiffImageFile) or image.mode != "L":
        return False
    extrema = image.getextrema()
    return _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ()) and extrema[1] > 127  # type: ignore[operator]


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in _MAGIC
