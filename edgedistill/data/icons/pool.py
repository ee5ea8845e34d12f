"""The icon benchmark's own images of no class, for training without labels.

Glyphs of the benchmark's four vendors whose names have no word of a class, in all their variants.
"""

from pathlib import Path

from PIL import Image

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.drawn.build import draw_dataset
from edgedistill.data.drawn.packages import versioned
from edgedistill.data.drawn.pool import read_pool
from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.data.icons.catalogue import Icon, require_art, unclassified
from edgedistill.data.icons.dataset import DOMAINS, SIZE
from edgedistill.data.icons.packs import PACKS
from edgedistill.data.index import Index
from edgedistill.data.store.build_once import build_once

# Part of the folder name: raise it whenever the pictures change, the benchmark's own as well.
VERSION = 1
# Glyphs of a vendor, so that none outnumbers the others.
MOST = 200


def load_icon_pool() -> Index:
    """Icons of no class: 4 domains, the benchmark's vendors, and no labels.

    Built in the cache folder on first use, in seconds.

    Raises:
        DataError: the rasteriser is too old, or the cache cannot be written.
        MissingPackageError: the art packages are missing.
    """
    return read_pool(build_once(icon_pool_root(), build_icon_pool), DOMAINS)


def icon_pool_root() -> Path:
    """Folder of the pool in the cache; its name holds our version and the art packages'."""
    require_art()
    art = {pack.domain: pack.distribution for pack in PACKS}
    return cache_dir() / versioned(f"icons-pool-v{VERSION}", art)


def build_icon_pool(root: Path, limit: int = MOST) -> None:
    """Draw the pool into an existing folder: `domain/<glyph>.<variant>.png`, 128 px RGB.

    Args:
        root: the folder.
        limit: at most this many glyphs per vendor (a deterministic choice).
    """
    draw_dataset(
        root,
        DOMAINS,
        unclassified(limit),
        _draw,
        None,
        work=f"drawing icons of no class from {len(DOMAINS)} packs",
        unit="icons",
    )


def _draw(icon: Icon) -> dict[str, Image.Image]:
    return {f"{icon.domain}/{icon.glyph}.{icon.variant}.png": on_white(rasterise(icon.svg, SIZE))}
