"""The icon packs of the benchmark, read from installed packages whose code is never run."""

import json
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from edgedistill.data.drawn.packages import package_folder


@dataclass(frozen=True)
class Pack(ABC):
    """Drawings of one vendor, every glyph in one or several variants.

    Attributes:
        domain: what the benchmark calls it.
        distribution, module: the package that has it.
        file: archive or font within the package.
        entry: pattern of a drawing's full name, with the groups `glyph` and `variant`.
        variants: the variants used, as `entry` finds them ("" for none), by their names here.
    """

    domain: str
    distribution: str
    module: str
    file: str
    entry: re.Pattern[str]
    variants: Mapping[str, str] = field(hash=False)

    def glyphs(self) -> dict[str, dict[str, str]]:
        """Every glyph with its variants: glyph -> variant -> name to give to `svgs`."""
        glyphs: dict[str, dict[str, str]] = {}
        for name in sorted(self.names()):
            match = self.entry.fullmatch(name)
            if match and (variant := self.variants.get(match["variant"] or "")):
                glyphs.setdefault(match["glyph"], {})[variant] = name
        return glyphs

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of all drawings."""

    @abstractmethod
    def svgs(self, names: Sequence[str]) -> list[str]:
        """The SVG text of each drawing."""


class Archive(Pack):
    """A pack of SVG files in a zip archive."""

    def names(self) -> Sequence[str]:
        with zipfile.ZipFile(package_folder(self.module) / self.file) as archive:
            return archive.namelist()

    def svgs(self, names: Sequence[str]) -> list[str]:
        with zipfile.ZipFile(package_folder(self.module) / self.file) as archive:
            return [archive.read(name).decode() for name in names]


@dataclass(frozen=True)
class Font(Pack):
    """A pack of outlines in a font; `charmap` is a JSON file: name -> code point in hexadecimal."""

    charmap: str = ""

    @cached_property
    def _codes(self) -> dict[str, str]:
        text = (package_folder(self.module) / self.charmap).read_text(encoding="utf-8")
        codes: dict[str, str] = json.loads(text)
        return codes

    def names(self) -> Sequence[str]:
        return list(self._codes)

    def svgs(self, names: Sequence[str]) -> list[str]:
        from fontTools.pens.svgPathPen import SVGPathPen
        from fontTools.ttLib import TTFont

        with TTFont(package_folder(self.module) / self.file) as font:
            side, top = font["head"].unitsPerEm, font["hhea"].ascent
            # Names of our own: those in the font are not needed, and reading them may warn.
            font.setGlyphOrder([f"glyph{n}" for n in range(font["maxp"].numGlyphs)])
            glyphs, characters = font.getGlyphSet(), font.getBestCmap()
            drawings = []
            for name in names:
                pen = SVGPathPen(glyphs)
                glyphs[characters[int(self._codes[name], 16)]].draw(pen)
                # A font's y axis points up, an SVG's down.
                drawings.append(
                    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">'
                    f'<path transform="matrix(1 0 0 -1 0 {top})" d="{pen.getCommands()}"/></svg>'
                )
        return drawings


PACKS: tuple[Pack, ...] = (
    Archive(
        "mdi",
        "justmyresource-mdi",
        "justmyresource_mdi",
        "icons.zip",
        re.compile(r"(?P<glyph>.+?)(?P<variant>-outline)?\.svg"),
        {"": "filled", "-outline": "outline"},
    ),
    Archive(
        "tabler",
        "tablericons2",
        "tablericons",
        "tablericons.zip",
        re.compile(r"(?P<variant>\w+)/(?P<glyph>.+)\.svg"),
        {"outline": "outline", "filled": "filled"},
    ),
    Archive(
        "phosphor",
        "justmyresource-phosphor",
        "justmyresource_phosphor",
        "icons.zip",
        re.compile(r"(?P<variant>\w+)/(?P<glyph>.+?)(-(?P=variant))?\.svg"),
        {"regular": "outline", "bold": "bold", "fill": "filled", "duotone": "duotone"},
    ),
    Font(
        "remix",
        "tkinter-icons-remix",
        "tkinter_icons_remix",
        "fonts/remixicon.ttf",
        re.compile(r"(?P<glyph>.+)-(?P<variant>line|fill)"),
        {"line": "outline", "fill": "filled"},
        charmap="glyphmap.json",
    ),
)
