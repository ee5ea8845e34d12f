"""The second embedded benchmark: 16 classes of user interface icons by four vendors.

Domains: `mdi` (Material Design Icons), `tabler`, `phosphor` and `remix`. The teacher that ships has
seen emoji, not icons, and is weak here: this is what one's own images may be like.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.drawn.build import draw_dataset
from edgedistill.data.drawn.packages import versioned
from edgedistill.data.drawn.raster import on_white, rasterise
from edgedistill.data.icons.catalogue import MOST, Icon, catalogue, require_art
from edgedistill.data.icons.classes import CLASSES, UNKNOWN, IconClass
from edgedistill.data.icons.packs import PACKS
from edgedistill.data.index import Index
from edgedistill.data.readers.folder import FolderDescription, read_folder
from edgedistill.data.store.build_once import build_once

# Part of the folder name: raise it whenever the pictures change.
VERSION = 1
DOMAINS = tuple(pack.domain for pack in PACKS)
SIZE = 128


def load_icons() -> Index:
    """Icons: 4 domains, 16 classes, embedded.

    Built in the cache folder on first use, in seconds.

    Raises:
        DataError: the rasteriser is too old, or the cache cannot be written.
        MissingPackageError: the art packages are missing.
    """
    return read_folder(build_once(icons_root(), build_icons))


def icons_root() -> Path:
    """Folder of the benchmark in the cache; its name holds our version and the art packages'."""
    require_art()
    art = {pack.domain: pack.distribution for pack in PACKS}
    return cache_dir() / versioned(f"icons-v{VERSION}", art)


def build_icons(root: Path, classes: Sequence[IconClass] = CLASSES, limit: int = MOST) -> None:
    """Draw the benchmark into an existing folder: `domain/class/<glyph>.<variant>.png`, 128 px RGB.

    Args:
        root: the folder.
        classes: which classes.
        limit: at most this many glyphs per class and vendor.
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
            instance_separator=".",
        ),
        work=f"drawing the icon benchmark from {len(DOMAINS)} packs",
        unit="icons",
    )


def _draw(icon: Icon) -> dict[str, Image.Image]:
    return {icon.path: on_white(rasterise(icon.svg, SIZE))}
