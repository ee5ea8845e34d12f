"""Fonts that have the letters of names, in whatever script: the plots' own, or a system's.

A letter that no font of the system has is drawn as a backslash escape, which one line says.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from weakref import WeakSet

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from edgedistill import callbacks

PLOT_FONT = "DejaVu Sans"
# matplotlib's font of boxes for letters that it has no font for.
_BOXES = "Last Resort"
# Those whose user has read of missing letters.
_warned: WeakSet[callbacks.CallbackList] = WeakSet()


@cache
def plot_families(letters: frozenset[str]) -> tuple[str, ...]:
    """Font families that together have these letters, as far as the system has them."""
    families = [PLOT_FONT]
    missing = letters - _of_font(_plot_font(), letters)
    for name, path in _system_fonts():
        if not missing:
            break
        if present := _of_font(path, missing):
            families.append(name)
            missing -= present
    return tuple(families)


def drawable(text: str) -> str:
    """A name with the letters that no font has as backslash escapes.

    The first such name in a piece of work is warned of.
    """
    escaped = _escaped(text)
    current = callbacks.current()
    if escaped != text and current not in _warned:
        _warned.add(current)
        current.on_warning(
            f"no font of this system has all letters of '{text}'; pictures show such names by code "
            f"points, as {escaped}; install one that has, such as Noto Sans CJK"
        )
    return escaped


@cache
def _escaped(text: str) -> str:
    missing = frozenset(text) - _of_font(_plot_font(), frozenset(text))
    for _, path in _system_fonts() if missing else ():
        missing -= _of_font(path, missing)
        if not missing:
            break
    return "".join(
        letter.encode("ascii", "backslashreplace").decode() if letter in missing else letter
        for letter in text
    )


@cache
def font_file(text: str) -> Path | None:
    """A font file that has all letters of a text that `drawable` gave; None where none has all."""
    letters = frozenset(text)
    for path in (_plot_font(), *(path for _, path in _system_fonts())):
        if len(_of_font(path, letters)) == len(letters):
            return Path(path)
    return None


def _of_font(path: str, letters: frozenset[str]) -> frozenset[str]:
    """Those of the letters that a font has; white space needs no glyph."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        # Listed when matplotlib last looked, and gone or damaged since.
        return frozenset()
    return frozenset(x for x in letters if x.isspace() or font.get_char_index(ord(x)))


def _plot_font() -> str:
    return str(font_manager.findfont(PLOT_FONT))


def _system_fonts() -> Iterator[tuple[str, str]]:
    """Name and path of every upright font of regular weight, those without serifs first."""
    entries = {
        (entry.name, entry.fname)
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith(_BOXES) and entry.fname
        and entry.weight in (400, "normal", "regular", "book")
    }  # fmt: skip
    return iter(sorted(entries, key=lambda e: ("Sans" not in e[0], "Mono" in e[0], e)))
