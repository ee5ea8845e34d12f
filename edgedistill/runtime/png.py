"""PNG files where Pillow's reading of them differs from the PNG specification."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from edgedistill.runtime.strips import strips

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Ancillary chunks that decide about the picture: transparency, orientation and animation.
_PICTURE_CHUNKS = frozenset({b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
# Least bytes of a transparent color, by the color type of the file; a palette has any number.
_TRANSPARENCY_BYTES = {0: 2, 2: 6}
# Bits of a gray sample by Pillow's name of the layout.
_GRAY_BITS = {"L": 8, "L;2": 2, "L;4": 4}


def load_png(image: PngImageFile) -> None:
    """Load the pixels of an opened PNG; its transparent color is in their units afterwards.

    A PNG gives the color in samples of the file's own depth. Pillow scales gray of 2 and 4 bits up
    to 8 and drops the low bytes of 16-bit RGB, but compares with the number as the file has it.
    """
    layout = image.tile[0][3] if image.tile else None
    key = image.info.get("transparency")
    if layout in _GRAY_BITS and isinstance(key, int):
        bits = _GRAY_BITS[layout]
        image.info["transparency"] = key % 2**bits * (255 // (2**bits - 1))
        image.load()
    elif layout == "RGB" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value % 256 for value in key)
        image.load()
    elif layout == "RGB;16B" and isinstance(key, tuple) and image.fp is not None:
        low = _low_bytes(image.fp)
        del image.info["transparency"]
        image.load()
        for top, bottom in strips(image):
            box = (0, top, image.width, bottom)
            values = np.asarray(image.crop(box)).astype(np.uint16) << 8
            transparent = (values | np.asarray(low.crop(box)) == np.array(key)).all(axis=2)
            image.paste("white", box, Image.fromarray(transparent.astype(np.uint8) * 255))
    else:
        image.load()


def without_extras(path: Path) -> io.BytesIO | None:
    """A PNG without its texts, colour profiles and the like; None for another file.

    Also without chunks of the picture that are not needed to decode it and are broken: whose
    checksum is wrong, or which are too short for a transparent color.
    """
    least = 0
    with open(path, "rb") as file:
        if file.read(len(_SIGNATURE)) != _SIGNATURE:
            return None
        bare = io.BytesIO()
        bare.write(_SIGNATURE)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            # The case of its first letter tells whether a chunk is needed to decode the picture.
            critical = kind[:1].isupper()
            if not critical and kind not in _PICTURE_CHUNKS:
                file.seek(length + 4, os.SEEK_CUR)
                continue
            body, checksum = file.read(length), file.read(4)
            if kind == b"IHDR":
                least = _TRANSPARENCY_BYTES.get(body[9] if len(body) > 9 else -1, 0)
            sound = checksum == struct.pack(">I", zlib.crc32(kind + body))
            if critical or (sound and not (kind == b"tRNS" and length < least)):
                bare.write(head + body + checksum)
    bare.seek(0)
    return bare


def _low_bytes(file: IO[bytes]) -> Image.Image:
    """The low byte of every sample of a 16-bit RGB PNG; the file's position stays."""
    position = file.tell()
    file.seek(0)
    low = PngImageFile(file)
    # The file's samples begin with their high byte; read as little-endian they begin with the low.
    low.tile = [(*tile[:3], "RGB;16L") for tile in low.tile]  # type: ignore[misc]
    low.load()
    file.seek(position)
    return low
