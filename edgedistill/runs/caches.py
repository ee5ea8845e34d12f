"""The cache folder: what lies in it, and how to remove it. Needs no torch."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgedistill._utils.cache_dir import cache_dir, disk_bytes, remove_folder
from edgedistill._utils.locks import is_locked
from edgedistill.data.store.image_store import REPORT_FILE
from edgedistill.errors import CacheError
from edgedistill.teacher.view_cache import files as cache_files

Kind = Literal["views", "plain", "images", "dataset"]

# Only folders of these names are ours: the cache folder may be one that holds other things too.
_KINDS: dict[Kind, tuple[str, re.Pattern[str]]] = {
    "views": ("views", re.compile(r"[0-9a-f]{20}")),
    "plain": ("plain", re.compile(r"[0-9a-f]{20}")),
    "images": ("store", re.compile(r"[0-9a-f]{32}")),
    "dataset": ("", re.compile(r"(emoji|icons)(-pool)?-v\d+-.+")),
}
_LEFTOVER = re.compile(r"\.(.+)\.tmp-[0-9a-f]+")


@dataclass(frozen=True)
class Cache:
    """A cache on the disk.

    Attributes:
        name: its folder's name.
        kind: "views" and "plain" (the teacher's embeddings of views and of whole images), "images"
            (decoded), "dataset" (drawn), or "leftover" (of a killed build).
        holds: its contents in words.
        bytes: what it takes on the disk.
        folder: where it lies.
    """

    name: str
    kind: Kind | Literal["leftover"]
    holds: str
    bytes: int
    folder: Path


def list_caches() -> list[Cache]:
    """Every cache in the cache folder, and what killed builds left there. Needs no torch."""
    return list(_caches_below(cache_dir()))


def remove_caches(caches: Iterable[Cache], removed: Callable[[Cache], None]) -> list[Cache]:
    """Remove caches; those that are being built are left.

    Args:
        caches: from `list_caches`.
        removed: is called with each cache as soon as it is gone.

    Returns:
        What was removed.

    Raises CacheError at the end when another process is building some of them.
    """
    busy, gone = [], []
    for cache in caches:
        if _is_busy(cache):
            busy.append(cache)
            continue
        if cache.kind == "leftover":
            shutil.rmtree(cache.folder, ignore_errors=True)
        else:
            remove_folder(cache.folder)
        gone.append(cache)
        removed(cache)
    if busy:
        raise CacheError(
            f"{busy[0].folder}: another process is building it; wait for it, or end it first"
        )
    return gone


def _caches_below(root: Path) -> Iterator[Cache]:
    """Every cache below a cache folder, and what killed builds left."""
    for kind, (below, names) in _KINDS.items():
        for folder in _folders(root / below):
            if names.fullmatch(folder.name):
                yield describe_cache(kind, folder)
            elif (left := _LEFTOVER.fullmatch(folder.name)) and names.fullmatch(left[1]):
                holds = "left by a killed build, or one that is at work"
                yield Cache(folder.name, "leftover", holds, disk_bytes(folder), folder)


def describe_cache(kind: Kind, folder: Path) -> Cache:
    """The cache in a folder that exists."""
    holds = {
        "views": _embeddings,
        "plain": _embeddings,
        "images": _images,
        "dataset": _dataset,
    }[kind]
    return Cache(folder.name, kind, holds(folder), disk_bytes(folder), folder)


def _folders(parent: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in parent.iterdir() if path.is_dir())
    return []


def _embeddings(folder: Path) -> str:
    header = cache_files.read_header(folder)
    if header is None:
        return f"a teacher's embeddings with a damaged {cache_files.HEADER}"
    done: int | str = "?"
    files = cache_files.locate(folder.parent, header)
    with suppress(OSError, ValueError):
        done = int(np.count_nonzero(files.pixel_hashes()))
    views = f"{header['count']} views of " if header["count"] else ""
    return (
        f"{header['teacher']}, {views}{done} of {header['images']} images, "
        f"{files.dtype} x {header['width']}"
    )


def _images(folder: Path) -> str:
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        packed = ", packed" if report["packed"] else ""
        return f"{report['images']} images of {report['root']} at {report['size']} px{packed}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"images of an earlier version, or with a damaged {REPORT_FILE}"


def _dataset(folder: Path) -> str:
    return f"the embedded benchmark {folder.name.partition('-')[0]}"


def _is_busy(cache: Cache) -> bool:
    if cache.kind in ("views", "plain"):
        return cache_files.in_use(cache.folder)
    left = _LEFTOVER.fullmatch(cache.name)
    target = left[1] if left else cache.name
    # `build_once` holds it while it builds.
    return is_locked(cache.folder.with_name(f".{target}.lock"))
