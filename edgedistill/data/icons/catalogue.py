"""The icons of the benchmark, with their drawings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from edgedistill.data.drawn.packages import require_packages
from edgedistill.data.icons.classes import CLASS_WORDS, CLASSES, IconClass
from edgedistill.data.icons.packs import PACKS, Pack

# Glyphs of a class in a pack, so that no class is mostly the arrows of one vendor.
MOST = 20


@dataclass(frozen=True)
class Icon:
    """One drawing: domain, class folder, name of the glyph, variant, and its SVG text."""

    domain: str
    folder: str
    glyph: str
    variant: str
    svg: str

    @property
    def path(self) -> str:
        """Where its picture lies; what stands before the dot is the same for all variants."""
        return f"{self.domain}/{self.folder}/{self.glyph}.{self.variant}.png"


def require_art() -> None:
    """Raise MissingPackageError where a package of the `demo` extra is missing."""
    require_packages("icons", (*(pack.module for pack in PACKS), "fontTools", "resvg_py"))


def catalogue(classes: Sequence[IconClass] = CLASSES, limit: int = MOST) -> list[Icon]:
    """The icons of each pack and class, sorted, in all variants.

    Args:
        classes: which classes.
        limit: at most this many glyphs per class and pack (a deterministic choice).
    """
    require_art()
    return [icon for pack in PACKS for icon in _icons(pack, classes, limit)]


def unclassified(limit: int) -> list[Icon]:
    """Icons of each pack whose names have no word of a class, in all variants; their folder is "".

    Args:
        limit: at most this many glyphs per pack (a deterministic choice).
    """
    require_art()
    icons = []
    for pack in PACKS:
        glyphs = pack.glyphs()
        others = [glyph for glyph in glyphs if not CLASS_WORDS & set(glyph.split("-"))]
        icons += _drawn(pack, [("", g) for g in sorted(sorted(others, key=_shuffled)[:limit])])
    return icons


def _icons(pack: Pack, classes: Sequence[IconClass], limit: int) -> list[Icon]:
    names = list(pack.glyphs())
    members = [(c.folder, g) for c in classes for g in _members(c, pack.domain, names, limit)]
    return _drawn(pack, members)


def _drawn(pack: Pack, members: Sequence[tuple[str, str]]) -> list[Icon]:
    """The icons of class folders and glyphs, in all variants."""
    glyphs = pack.glyphs()
    entries = [
        (folder, glyph, variant, name)
        for folder, glyph in members
        for variant, name in glyphs[glyph].items()
    ]
    svgs = pack.svgs([name for *_, name in entries])
    return [
        Icon(pack.domain, folder, glyph, variant, svg)
        for (folder, glyph, variant, _), svg in zip(entries, svgs, strict=True)
    ]


def _members(cls: IconClass, domain: str, glyphs: Sequence[str], limit: int) -> list[str]:
    """Glyphs of a vendor's that are in a class, at most `limit`, sorted."""
    others = [head for other in CLASSES if other is not cls for head in other.heads]
    members = [
        glyph
        for glyph in glyphs
        if any(_begins(glyph, head) for head in cls.heads)
        and f"{domain}/{glyph}" not in cls.without
        and not any(_has(glyph, head) for head in others)
    ]
    return sorted(sorted(members, key=_shuffled)[:limit])


def _begins(glyph: str, head: str) -> bool:
    return f"{glyph}-".startswith(f"{head}-")


def _has(glyph: str, head: str) -> bool:
    return f"-{head}-" in f"-{glyph}-"


def _shuffled(glyph: str) -> bytes:
    return hashlib.blake2b(f"choice/{glyph}".encode(), digest_size=8).digest()
