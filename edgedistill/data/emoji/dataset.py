"""The embedded benchmark: 28 classes of emoji in four styles, built from two PyPI packages of art.

Domains: `openmoji` (OpenMoji in colour), `line` (its line layer alone), `twemoji`, and `camera`
(either vendor's art photographed on a surface). Every emoji is in all four, under the same file
name, so a split by file stem keeps its four pictures on one side.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from edgedistill import callbacks
from edgedistill._utils.cache_dir import cache_dir
from edgedistill._utils.cpus import available_cpus
from edgedistill.data.emoji.art import line_layer, on_white, rasterise, read_svg
from edgedistill.data.emoji.camera import photograph
from edgedistill.data.emoji.catalogue import Emoji, art_versions, catalogue
from edgedistill.data.emoji.classes import CLASSES, UNKNOWN, EmojiClass
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import DESCRIPTION_FILE, FolderDescription, read_folder
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
    art = "-".join(f"{name.split('-')[0]}{version}" for name, version in art_versions().items())
    return cache_dir() / f"emoji-v{VERSION}-{art}"


def build_emoji(
    root: Path, classes: Sequence[EmojiClass] = CLASSES, limit: int | None = None
) -> None:
    """Draw the benchmark into an existing folder: `domain/class/<code points>.png`, 128 px RGB.

    Args:
        root: the folder.
        classes: which classes.
        limit: at most this many emoji per class, None for all.
    """
    emojis = catalogue(classes, limit)
    for domain in DOMAINS:
        for cls in classes:
            (root / domain / cls.folder).mkdir(parents=True)
    work = f"drawing the emoji benchmark in {len(DOMAINS)} styles"
    with (
        callbacks.current().progress(work, "emoji") as update,
        ThreadPoolExecutor(available_cpus()) as pool,
    ):
        for done, _ in enumerate(pool.map(lambda emoji: _draw(emoji, root), emojis), 1):
            update(done, len(emojis))
    folders = {cls.folder for cls in classes}
    description = FolderDescription(
        domains=list(DOMAINS),
        names={cls.folder: list(cls.names) for cls in classes},
        unknown=[cls.folder for cls in UNKNOWN if cls.folder in folders],
        test_fraction=TEST_FRACTION,
    )
    text = json.dumps(description.model_dump(), indent=1, ensure_ascii=False)
    (root / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")


def _draw(emoji: Emoji, root: Path) -> None:
    for domain, image in pictures(emoji).items():
        image.save(root / domain / emoji.folder / f"{emoji.code}.png")


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
