"""Contact sheet of a dataset: a row per class, a column per domain, some examples per cell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgedistill.data.index import Index
from edgedistill.runtime.preprocess import ImageProblem, read_rgb

_GAP = 12
_HEADER = 24
_FONT_SIZE = 10
_INK = "black"
_FAINT = "#999999"


def contact_sheet(
    index: Index,
    *,
    classes: Sequence[str] | None = None,
    examples: int = 4,
    tile: int = 48,
    limit: int = 200,
) -> Image.Image:
    """Draw the sheet.

    The examples of a class are spread evenly over its files, so an instance that lies in several
    domains under one name tends to be shown in all of them.

    Args:
        index: the images.
        classes: which classes, in this order; None for all, the known ones first.
        examples: images per cell.
        tile: side of an example in pixels.
        limit: most classes that are drawn; a line says how many others there are.

    Returns:
        RGB image. A file that cannot be read leaves its tile grey.
    """
    if classes is None:
        unknown = set(index.unknown)
        classes = sorted(index.classes, key=lambda name: (name in unknown, name))
    others = len(classes) - limit
    classes = classes[:limit]
    labels = {name: _label(name) for name in (*index.domains, *classes)}
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = 2 * _GAP + round(max(pen.textlength(*labels[name]) for name in classes))
    cell = examples * tile + _GAP
    sheet = Image.new(
        "RGB",
        (margin + cell * len(index.domains), _HEADER + (len(classes) + (others > 0)) * (tile + 2)),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    for d, domain in enumerate(index.domains):
        text, font = labels[domain]
        pen.text((margin + d * cell, _HEADER // 2), text, fill=_INK, font=font, anchor="lm")
    for c, name in enumerate(classes):
        top = _HEADER + c * (tile + 2)
        ink = _FAINT if name in index.unknown else _INK
        text, font = labels[name]
        pen.text((_GAP, top + tile // 2), text, fill=ink, font=font, anchor="lm")
        for d in range(len(index.domains)):
            rows = np.flatnonzero((index.label == index.class_id(name)) & (index.domain == d))
            for k, row in enumerate(_spread(len(rows), examples)):
                left = margin + d * cell + k * tile
                sheet.paste(_tile(index.path(int(rows[row])), tile), (left, top))
    if others > 0:
        top = _HEADER + len(classes) * (tile + 2)
        pen.text((_GAP, top + tile // 2), f"and {others} more", fill=_INK, anchor="lm")
    return sheet


def _label(name: str) -> tuple[str, ImageFont.FreeTypeFont | None]:
    """A name as it can be drawn, and the font for it; None for Pillow's own, which has ASCII."""
    if name.isascii():
        return name, None
    # Listing the fonts of the system takes a second, and matplotlib.
    from edgedistill.data.fonts import drawable, font_file

    text = drawable(name)
    path = font_file(text)
    if path is None:
        # In scripts that no single font has together.
        text = text.encode("ascii", "backslashreplace").decode()
    return text, None if path is None else ImageFont.truetype(str(path), _FONT_SIZE)


def _spread(count: int, limit: int) -> list[int]:
    """At most `limit` positions below `count`, evenly apart."""
    if count <= limit:
        return list(range(count))
    return [k * count // limit for k in range(limit)]


def _tile(path: Path, size: int) -> Image.Image:
    try:
        return Image.fromarray(read_rgb(path, size))
    except ImageProblem:
        return Image.new("RGB", (size, size), "#cccccc")
