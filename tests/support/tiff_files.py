"""TIFF files that no library writes: any depth, color model and byte order, and damaged ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from PIL import Image

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
_SHORT, _LONG = 3, 4


def tiff(
    row: Sequence[int | float],
    depth: int,
    color_model: int,
    *,
    samples: int = 1,
    sample_format: int = UNSIGNED,
    big_endian: bool = False,
    alpha: int | None = None,
    palette: Sequence[int] = (),
) -> bytes:
    """A TIFF of 4 rows that are all `row`.

    Args:
        row: samples of the pixels, in the units of the file.
        depth: bits of a sample.
        color_model: the tag PhotometricInterpretation.
        samples: numbers per pixel, with alpha.
        sample_format: UNSIGNED, SIGNED or FLOAT.
        alpha: the tag ExtraSamples for the last sample; None for no such tag.
        palette: 3 * 2**depth values of 16 bits.
    """
    order = ">" if big_endian else "<"
    height, width = 4, len(row) // samples
    if sample_format == FLOAT:
        line = struct.pack(f"{order}{len(row)}f", *row)
    elif depth in (16, 32):
        signed = sample_format == SIGNED
        code = {(16, False): "H", (16, True): "h", (32, False): "I", (32, True): "i"}
        line = struct.pack(f"{order}{len(row)}{code[depth, signed]}", *row)
    else:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        line = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [depth] * samples),
        (259, _SHORT, [1]),
        (262, _SHORT, [color_model]),
        (273, _LONG, [8]),
        (277, _SHORT, [samples]),
        (278, _LONG, [height]),
        (279, _LONG, [len(line) * height]),
    ]
    if palette:
        tags.append((320, _SHORT, palette))
    if alpha is not None:
        tags.append((338, _SHORT, [alpha]))
    if sample_format != UNSIGNED:
        tags.append((339, _SHORT, [sample_format] * samples))
    pixels = line * height
    start = 8 + len(pixels) + len(pixels) % 2
    place = start + 2 + 12 * len(tags) + 4
    entries, long_values = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(packed) > 4:
            field = struct.pack(f"{order}I", place + len(long_values))
            long_values += packed
        else:
            field = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + field
    head = (b"MM" if big_endian else b"II") + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    return head + pixels + bytes(len(pixels) % 2) + directory + long_values


def torn_tiff() -> bytes:
    """A compressed TIFF of whose pixels libtiff complains on stderr by itself."""
    file = io.BytesIO()
    Image.radial_gradient("L").save(file, "TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    data[100:400] = b"\xff" * 300
    return bytes(data)
