"""Captions for the text tower: names, keywords, subgroups and groups of emoji, in templates."""

import gzip
from itertools import pairwise
from pathlib import Path
from typing import Any

import open_clip

TEMPLATES = (
    "a picture of {}",
    "{}",
    "an emoji of {}",
    "a drawing of a {}",
    "a photo of a {}",
    "an icon of a {}",
    "this is a {}",
    "this is a photo of a {}",
    "a {}",
)
# Unicode subgroup prefix -> the words of its coarse group. First match wins.
GROUPS: dict[str, tuple[str, ...]] = {
    "animal": ("animal", "creature", "wildlife"),
    "cat-face": ("animal", "cat"),
    "monkey-face": ("animal", "monkey"),
    "food": ("food", "meal", "something to eat"),
    "drink": ("drink", "beverage"),
    "dishware": ("dishware", "cutlery"),
    "plant": ("plant", "botany"),
    "transport-sign": ("sign", "road sign"),
    "transport": ("vehicle", "transport"),
    "place-building": ("building", "architecture"),
    "place-religious": ("building", "religious building"),
    "place": ("place", "landscape"),
    "hotel": ("building", "hotel"),
    "clothing": ("clothing", "clothes", "something to wear"),
    "time": ("clock", "time"),
    "sport": ("sports equipment", "sport"),
    "award-medal": ("medal", "award"),
    "musical": ("musical instrument", "instrument"),
    "music": ("music", "sound"),
    "sound": ("sound", "loudspeaker"),
    "face-costume": ("fantasy face", "costume"),
    "face": ("smiley face", "face", "smiley"),
    "hand": ("hand gesture", "hand"),
    "body-parts": ("body part",),
    "person": ("person", "people", "human"),
    "family": ("people", "family"),
    "tool": ("tool", "hardware tool"),
    "heart": ("heart", "love"),
    "emotion": ("emotion symbol",),
    "sky": ("weather", "sky"),
    "arrow": ("arrow", "direction sign"),
    "book": ("book", "paper"),
    "money": ("money", "cash"),
    "currency": ("money", "currency sign"),
    "office": ("office supply", "stationery"),
    "writing": ("writing tool", "pen"),
    "computer": ("computer", "electronics"),
    "phone": ("telephone", "electronics"),
    "country-flag": ("flag", "country flag"),
    "subdivision-flag": ("flag", "region flag"),
    "flag": ("flag",),
    "geometric": ("shape", "geometric shape"),
    "alphanum": ("letter sign", "sign"),
    "keycap": ("number sign", "sign"),
    "event": ("celebration", "party"),
    "game": ("game", "toy"),
    "arts": ("art", "craft"),
    "household": ("household item", "furniture"),
    "light": ("camera or light", "light"),
    "mail": ("mail", "post"),
    "zodiac": ("zodiac sign", "astrology"),
    "warning": ("warning sign", "sign"),
    "av-symbol": ("media button", "sign"),
    "religion": ("religious symbol", "sign"),
    "science": ("science equipment",),
    "medical": ("medical item",),
    "lock": ("lock", "key"),
}


def group(subgroup: str) -> tuple[str, ...]:
    for prefix, words in GROUPS.items():
        if subgroup.startswith(prefix):
            return words
    return (subgroup.replace("-", " "),)


def words_of(emoji: dict[str, Any]) -> list[str]:
    subgroup = emoji["subgroup"].replace("-", " ").replace("&", "and")
    return [emoji["name"], *emoji["tags"], subgroup, *group(emoji["subgroup"])]


def write_merges(table: list[dict[str, Any]], path: Path) -> int:
    """Keep, of CLIP's byte-pair merges, those that the captions use; returns the vocabulary size.

    Captions tokenise as with CLIP's own list, any other word falls back to smaller pieces, and
    the embedding table shrinks from 49,408 rows to a few thousand.
    """
    full = open_clip.tokenizer.SimpleTokenizer()
    used: set[tuple[str, str]] = set()
    words = {w for e in table for phrase in words_of(e) for w in phrase.lower().split()}
    words |= {w for t in TEMPLATES for w in t.format("").split()}
    for word in words:
        for piece in full.pat.findall(word):
            encoded = "".join(full.byte_encoder[b] for b in piece.encode())
            parts = [*encoded[:-1], encoded[-1] + "</w>"]
            while len(parts) > 1:
                ranked = [(full.bpe_ranks.get(p, 1 << 30), p) for p in pairwise(parts)]
                rank, best = min(ranked)
                if rank == 1 << 30:
                    break
                used.add(best)
                merged: list[str] = []
                i = 0
                while i < len(parts):
                    if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                        merged.append(parts[i] + parts[i + 1])
                        i += 2
                    else:
                        merged.append(parts[i])
                        i += 1
                parts = merged
    merges = sorted(used, key=lambda p: full.bpe_ranks[p])
    text = "\n".join(["#version: 0.2", *(" ".join(p) for p in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return 512 + len(merges) + 2
