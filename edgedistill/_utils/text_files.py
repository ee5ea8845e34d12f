"""Text files that a person writes: UTF-8, with or without a byte-order mark."""

import codecs
from pathlib import Path

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class EncodingError(ValueError):
    """Bytes that are no UTF-8 text; the message names their encoding, or the first wrong byte."""


def marked_encoding(data: bytes) -> str | None:
    """Name of the encoding other than UTF-8 whose byte-order mark the bytes begin with."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)


def decode_text(data: bytes) -> str:
    """UTF-8 text without its byte-order mark, every newline as `\\n`.

    Raises:
        EncodingError: the bytes are in another encoding.
    """
    # Without a mark, UTF-16 shows by the zero byte of its first ASCII character.
    encoding = marked_encoding(data) or ("UTF-16" if b"\0" in data[:2] else None)
    if encoding is not None:
        raise EncodingError(f"it is {encoding} text; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a mark, `start` counts from the byte behind it.
        wrong = error.object[error.start]
        line = error.object.count(b"\n", 0, error.start) + 1
        raise EncodingError(
            f"it is not UTF-8 text (byte 0x{wrong:02x} on line {line}); save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """Content of a text file as `decode_text` gives it.

    Raises:
        EncodingError: the file is in another encoding.
        OSError: the file cannot be read.
    """
    return decode_text(path.read_bytes())


def read_foreign_text(path: Path) -> tuple[str, str]:
    """Content of a text file that another program may have written, and its encoding.

    UTF-8 and UTF-16, with or without a byte-order mark, or else Windows-1252; every newline as
    `\\n`.

    Raises:
        EncodingError: the bytes are in none of these encodings.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    for encoding in (_by_zero_bytes(data), "utf-8-sig", "cp1252"):
        try:
            if encoding is not None:
                text = data.decode(encoding)
                return text.replace("\r\n", "\n").replace("\r", "\n"), encoding
        except UnicodeDecodeError:
            continue
    raise EncodingError("it is not UTF-8, UTF-16 or Windows-1252 text; save it as UTF-8")


def _by_zero_bytes(data: bytes) -> str | None:
    """UTF-16 or UTF-32 by the mark, or UTF-16 by the zero byte of the first ASCII character."""
    name = marked_encoding(data)
    if name is not None:
        return name.lower()
    if b"\0" not in data[:2]:
        return None
    return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
