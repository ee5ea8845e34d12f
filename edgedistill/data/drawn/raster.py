"""Rasterising of SVG drawings."""

import importlib.metadata
import io

from PIL import Image

from edgedistill.errors import DataError


def rasterise(svg: str, size: int) -> Image.Image:
    """RGBA image of an SVG, its longer side `size` pixels.

    System fonts are not used, so every machine agrees. Raises DataError where the installed
    rasteriser draws another size.
    """
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    if max(image.size) != size:
        raise DataError(
            f"resvg-py {importlib.metadata.version('resvg-py')} draws {image.width} x "
            f"{image.height} pixels where a longer side of {size} pixels is asked for; "
            "install a newer one with: pip install --upgrade resvg-py"
        )
    return image


def on_white(image: Image.Image) -> Image.Image:
    """RGB image of an RGBA one, composited on white."""
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image).convert("RGB")
