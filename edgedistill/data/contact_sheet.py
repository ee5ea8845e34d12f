"""Contact sheet of a dataset: a row per class, a column per domain, some examples per cell."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from edgedistill.data.index import Index
from edgedistill.runtime.preprocess import ImageProblem, read_rgb

_GAP = 12
_HEADER = 24
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
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    margin = 2 * _GAP + round(max(pen.textlength(name) for name in classes))
    cell = examples * tile + _GAP
    sheet = Image.new(
        "RGB",
        (margin + cell * len(index.domains), _HEADER + (len(classes) + (others > 0)) * (tile + 2)),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    for d, domain in enumerate(index.domains):
        pen.text((margin + d * cell, _HEADER // 2), domain, fill=_INK, anchor="lm")
    for c, name in enumerate(classes):
        top = _HEADER + c * (tile + 2)
        ink = _FAINT if name in index.unknown else _INK
        pen.text((_GAP, top + tile // 2), name, fill=ink, anchor="lm")
        for d in range(len(index.domains)):
            rows = np.flatnonzero((index.label == index.class_id(name)) & (index.domain == d))
            for k, row in enumerate(_spread(len(rows), examples)):
                left = margin + d * cell + k * tile
                sheet.paste(_tile(index.path(int(rows[row])), tile), (left, top))
    if others > 0:
        top = _HEADER + len(classes) * (tile + 2)
        pen.text((_GAP, top + tile // 2), f"and {others} more", fill=_INK, anchor="lm")
    return sheet


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
