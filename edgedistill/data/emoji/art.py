"""OpenMoji's line layer."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

_SVG = "http://www.w3.org/2000/svg"
# OpenMoji draws every emoji in layers named by the id of a group: `color`, `skin`, `skin-shadow`,
# `hair`, `color-foreground` are fills, `line` and `line-supplement` the black edition.
_FILL_LAYERS = ("color", "skin", "hair")
_COLOR_ATTRIBUTES = ("fill", "stroke", "stop-color", "color")
_COLOR_IN_STYLE = re.compile(r"(?:fill|stroke|stop-color|color)\s*:\s*([^;]+)")
_UNCOLORED = frozenset(
    {"none", "#000", "#000000", "black", "#fff", "#ffffff", "white", "inherit", "transparent"}
)

ET.register_namespace("", _SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def line_layer(svg: str) -> str:
    """OpenMoji's black edition of an emoji: its SVG without the fill layers.

    Raises:
        ValueError: something coloured is left, so the drawing is not layered as expected.
    """
    root = ET.fromstring(svg)
    _drop_fills(root)
    remaining = _colors(root) - _UNCOLORED
    if remaining:
        raise ValueError(f"colours {sorted(remaining)} outside the fill layers")
    return ET.tostring(root, encoding="unicode")


def _drop_fills(element: ET.Element) -> None:
    for child in list(element):
        if (child.get("id") or "").lower().startswith(_FILL_LAYERS):
            element.remove(child)
        else:
            _drop_fills(child)


def _colors(root: ET.Element) -> set[str]:
    colors: set[str] = set()
    for element in root.iter():
        values = [element.get(name, "") for name in _COLOR_ATTRIBUTES]
        values += _COLOR_IN_STYLE.findall(element.get("style", ""))
        colors.update(value.strip().lower() for value in values if value.strip())
    return colors


def read_svg(path: Path) -> str:
    """Text of an SVG file."""
    return path.read_text(encoding="utf-8")
