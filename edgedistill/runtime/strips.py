"""Strips of an image, for work that needs more memory than the picture itself."""

from collections.abc import Iterator

from PIL import Image

_STRIP_PIXELS = 2**20


def strips(image: Image.Image) -> Iterator[tuple[int, int]]:
    """First row and row after the last of strips that together are the image."""
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)
