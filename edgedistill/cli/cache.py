"""`edgedistill cache info` and `cache clear` by name: what lies in the cache folder. No torch."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgedistill._utils.cache_dir import cache_dir, disk_bytes, remove_folder
from edgedistill._utils.locks import is_locked
from edgedistill.cli.tables import print_json, print_table
from edgedistill.data.store.image_store import REPORT_FILE
from edgedistill.errors import UsageError
from edgedistill.teacher.view_cache import files as cache_files

# Only folders of these names are ours: the cache folder may be one that holds other things too.
_KINDS = {
    "views": ("views", re.compile(r"[0-9a-f]{20}")),
    "images": ("store", re.compile(r"[0-9a-f]{32}")),
    "dataset": ("", re.compile(r"emoji-v\d+-.+")),
}
_LEFTOVER = re.compile(r"\.(.+)\.tmp-[0-9a-f]+")
# Enough of a name to tell caches apart, and what a person types.
_SHORT = 12


@dataclass(frozen=True)
class Entry:
    """One cache: `kind` views, images, dataset or leftover; `bytes` on the disk."""

    name: str
    kind: str
    holds: str
    bytes: int
    folder: Path


def show_caches(as_json: bool) -> None:
    """`edgedistill cache info`."""
    found = list(entries(cache_dir()))
    total = sum(entry.bytes for entry in found)
    if as_json:
        rows: list[dict[str, Any]] = [{**asdict(e), "folder": str(e.folder)} for e in found]
        print_json({"folder": str(cache_dir()), "bytes": total, "caches": rows})
        return
    cells = [[e.name[:_SHORT], e.kind, e.holds, size_text(e.bytes)] for e in found]
    cells.append(["all", "", "", size_text(total)])
    print_table(f"{cache_dir()}", ["cache", "kind", "holds", "on disk"], cells)


def clear_caches(name: str | None) -> None:
    """`edgedistill cache clear` of one cache by the start of its name, or of all with None."""
    found = list(entries(cache_dir()))
    if name is not None:
        found = [entry for entry in found if name and entry.name.startswith(name)]
        if len(found) != 1:
            raise UsageError(
                f"cache clear {name}: {len(found) or 'no'} caches are called so; `edgedistill "
                "cache info` lists them, and a recipe's name ends in .toml"
            )
    remove(found)


def remove(found: Sequence[Entry]) -> None:
    """Remove caches, saying of each what it frees; those that are being built are left, last.

    Raises:
        EdgeDistillError: some are being built at this moment.
    """
    console = Console(highlight=False, soft_wrap=True, markup=False)
    freed, busy = 0, []
    for entry in found:
        if _busy(entry):
            busy.append(entry)
            continue
        if entry.kind == "leftover":
            shutil.rmtree(entry.folder, ignore_errors=True)
        else:
            remove_folder(entry.folder)
        freed += entry.bytes
        console.print(
            f"removed {entry.kind} {entry.name[:_SHORT]}: {entry.holds}, {size_text(entry.bytes)}"
        )
    console.print(f"freed {size_text(freed)}")
    if busy:
        raise UsageError(
            f"{busy[0].folder}: another process is building it; wait for it, or end it first"
        )


def entries(root: Path) -> Iterator[Entry]:
    """Every cache below a cache folder, and what killed builds left."""
    for kind, (below, names) in _KINDS.items():
        for folder in _folders(root / below):
            if names.fullmatch(folder.name):
                yield describe(kind, folder)
            elif (left := _LEFTOVER.fullmatch(folder.name)) and names.fullmatch(left[1]):
                holds = "left by a killed build, or one that is at work"
                yield Entry(folder.name, "leftover", holds, disk_bytes(folder), folder)


def describe(kind: str, folder: Path) -> Entry:
    """The entry of a cache that exists."""
    holds = {"views": _views, "images": _images}.get(kind, lambda _: "the emoji benchmark")
    return Entry(folder.name, kind, holds(folder), disk_bytes(folder), folder)


def size_text(count: int) -> str:
    """Bytes as a person reads them: 12.3 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def _folders(parent: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in parent.iterdir() if path.is_dir())
    return []


def _views(folder: Path) -> str:
    header = cache_files.read_header(folder)
    if header is None:
        return f"a view cache with a damaged {cache_files.HEADER}"
    done: int | str = "?"
    with suppress(OSError, ValueError):
        hashes = cache_files.locate(folder.parent, header).pixel_hashes()
        done = int(np.count_nonzero(hashes))
    return (
        f"{header['teacher']}, {header['count']} views of {done} of {header['images']} images, "
        f"float16 x {header['width']}"
    )


def _images(folder: Path) -> str:
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        packed = ", packed" if report["packed"] else ""
        return f"{report['images']} images of {report['root']} at {report['size']} px{packed}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"images of an earlier version, or with a damaged {REPORT_FILE}"


def _busy(entry: Entry) -> bool:
    if entry.kind == "views":
        return cache_files.in_use(entry.folder)
    left = _LEFTOVER.fullmatch(entry.name)
    target = left[1] if left else entry.name
    # `build_once` holds it while it builds.
    return is_locked(entry.folder.with_name(f".{target}.lock"))
