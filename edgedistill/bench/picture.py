"""A generated image that latencies are measured with when the user gives none."""

from pathlib import Path

import numpy as np
from PIL import Image

from edgedistill.errors import BenchError
from edgedistill.runtime.preprocess import ImageProblem, read_rgb

WIDTH, HEIGHT = 640, 480
_QUALITY = 90


def write_picture(folder: Path) -> Path:
    """A 640 x 480 JPEG in `folder`: coarse and fine noise, so that it decodes like a photo.

    The same pixels everywhere; about 1.5 bits of file per pixel.
    """
    rng = np.random.default_rng(0)
    pixels = np.zeros((HEIGHT, WIDTH, 3))
    for cells, strength in ((4, 90.0), (16, 40.0), (64, 15.0), (640, 6.0)):
        noise = rng.uniform(0, 255, (max(cells * 3 // 4, 2), cells, 3)).astype(np.uint8)
        large = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels += strength * (np.asarray(large) / 127.5 - 1)
    path = folder / "picture.jpg"
    image = Image.fromarray((pixels + 127.5).clip(0, 255).astype(np.uint8))
    image.save(path, quality=_QUALITY)
    return path


def describe_image(path: Path) -> str:
    """Size, format and bytes of an image file: "640x480 JPEG, 57000 bytes".

    Raises:
        BenchError: it is no readable image.
    """
    try:
        read_rgb(path, 8)
        with Image.open(path) as image:
            width, height = image.size
            return f"{width}x{height} {image.format}, {path.stat().st_size} bytes"
    except ImageProblem as problem:
        raise BenchError(f"{path}: {problem}; give an image file") from None
