"""The text of a recipe that `edgedistill init` writes: a few keys, each with its reason."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Value = str | int | float | bool | Sequence[str]
# Where the reasons begin.
COLUMN = 32


class Entry(NamedTuple):
    """A key of a section.

    Attributes:
        key: its name; "" for a line that is a comment alone.
        value: what it is set to.
        why: the comment behind it.
    """

    key: str
    value: Value
    why: str


def comment(text: str) -> Entry:
    """A line of a section that sets nothing."""
    return Entry("", "", text)


def recipe_text(title: str, sections: Mapping[str, Sequence[Entry]]) -> str:
    """A recipe as TOML: a title, and of each section that has entries a line each."""
    lines = [f"# {_printable(title)}"]
    for name, entries in sections.items():
        if entries:
            lines.append(f"[{name}]")
        for key, value, why in entries:
            left = f"{key} = {toml_value(value)}".ljust(COLUMN - 1) + " " if key else ""
            lines.append(f"{left}# {_printable(why)}")
    return "\n".join(lines) + "\n"


def toml_value(value: Value) -> str:
    """A value on one line of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # TOML's basic strings have JSON's escapes, and allow no delete character as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"[{', '.join(map(toml_value, value))}]"


def _printable(text: str) -> str:
    """Text that may stand in a comment: TOML allows no control characters there."""
    return "".join(character if character.isprintable() else "?" for character in text)
