"""PNG files that no library writes: any depth, and chunks beside the picture."""

from __future__ import annotations

import struct
import zlib

GRAY, RGB = 0, 2


def png(width: int, depth: int, color_type: int, row: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG of rows that are all `row`, with more chunks before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, 4, depth, color_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *(chunk(*part) for part in more)]
    parts += [chunk(b"IDAT", zlib.compress((b"\0" + row) * 4)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def color_key_png(
    depth: int, color_type: int, key: tuple[int, ...], other: tuple[int, ...]
) -> bytes:
    """8 x 4 pixels: the left half of the transparent color `key`, the right one of another."""
    bits = "".join(f"{value:0{depth}b}" for value in key * 4 + other * 4)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return png(8, depth, color_type, row, (b"tRNS", struct.pack(f">{len(key)}H", *key)))


def wrong_checksum(data: bytes, kind: bytes) -> bytes:
    """The file with one bit of a chunk's checksum flipped."""
    at = data.index(kind)
    (length,) = struct.unpack(">I", data[at - 4 : at])
    end = at + 4 + length
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]
