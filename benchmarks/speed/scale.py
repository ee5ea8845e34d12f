"""Cost of DomainNet: arithmetic over the rates that `throughput.py` measured.

`render.py` puts these tables into SCALE.md. Counts of images are those of
`edgedistill/data/published/benchmarks.json`, limits those of the code; what is neither that nor
measured is
assumed, stands in capitals below, and is called assumed beside its table.
"""

import math
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.tables import Shown, cell
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.store.image_store import PACK_ABOVE
from edgedistill.teacher.view_cache.files import BLOCK

RECIPES = Path(__file__).parents[2] / "recipes"
CORES = 64
DEVICES = 8
# Threads that decode one batch, at most.
READERS = 8
# Teacher passes per second of one device.
RATES = (500, 1000, 2000, 4000)
VIEWS = (4, 16)
# Of an image's path, label, domain, pixel hashes and cache entry in memory.
ROW_BYTES = 250
# Crops are cut from larger pictures than are looked at whole.
CROP_SIDE = 256
STORES = ("crops", "the student's size", "the teacher's size")

DOMAINS = benchmarks()["domainnet"].editions["cleaned"]
IMAGES = sum(DOMAINS.values())


def plain() -> list[Shown]:
    """Bytes that are not compressed, and what is kept so."""
    rows = [[f"{side} px", 3 * side**2 / 1e3, 3e-9 * side**2 * IMAGES] for side in (80, 224, 256)]
    largest = {f.title: max(sum(e.values()) for e in f.editions.values()) for f in _facts()}
    limits: list[list[object]] = [
        [
            title,
            count,
            _plain_gb(count),
            "packed" if _plain_gb(count) > PACK_ABOVE / 1e9 else "plain",
        ]
        for title, count in largest.items()
    ]
    limit = PACK_ABOVE // _plain_bytes()
    limits.append(["the limit", limit, _plain_gb(limit), ""])
    return [
        Shown(f"Plain bytes of {IMAGES:,} pictures", ["side", "kB a picture", "GB in all"], rows),
        Shown(
            "Kept plain or packed at 224 px, the largest edition of each",
            ["set", "images", "GB plain", "kept"],
            limits,
        ),
    ]


def stored(content: Mapping[str, Any]) -> list[Shown]:
    """Bytes and hours of each storage format of the pictures."""
    rows = [
        [
            name,
            costs["bytes"] / 1e3,
            IMAGES * costs["bytes"] / 1e9,
            IMAGES * costs["store"] / 3600,
            IMAGES * costs["store"] / 60 / CORES,
            1e3 * costs["read"],
            READERS / costs["read"] if costs["read"] else "-",
        ]
        for name, costs in content["results"]["images"].items()
    ]
    columns = [
        *["kept as", "kB a picture", "GB in all", "processor hours to store"],
        *[f"minutes on {CORES} cores", "ms to read", f"pictures/s of {READERS} threads"],
    ]
    return [Shown(f"{IMAGES:,} pictures at {content['settings']['size']} px", columns, rows)]


def disk(content: Mapping[str, Any]) -> list[Shown]:
    """Everything that lies on the disk."""
    side, width = content["settings"]["size"], _width(content)
    packed = content["results"]["images"]["packed"]["bytes"]
    parts = {
        f"packed at {CROP_SIDE} px, for crops (bytes as the area)": packed
        * (CROP_SIDE / side) ** 2,
        f"packed at {side} px, for validation, test and teacher": packed,
        f"embeddings of {VIEWS[0]} views": 2.0 * VIEWS[0] * width,
        "hashes of the pictures of both stores, entries of the embeddings": 4 * 8.0,
    }
    rows = [[name, IMAGES * each / 1e9] for name, each in parts.items()]
    rows.append(["all", IMAGES * sum(parts.values()) / 1e9])
    return [Shown("On the disk", ["what", "GB"], rows)]


def teacher(content: Mapping[str, Any]) -> list[Shown]:
    """Passes, bytes and hours of the view cache."""
    width, name = _width(content), content["settings"]["teacher"]
    blocks = math.ceil(IMAGES / BLOCK)
    sizes = [
        [n, IMAGES * n, 2e-9 * IMAGES * n * width, blocks, BLOCK * n, 2e-6 * BLOCK * n * width]
        for n in VIEWS
    ]
    read = content["results"]["images"]["packed"]["read"]
    rates = [
        [
            float(rate),
            how,
            *(IMAGES * n / rate / DEVICES / 3600 for n in VIEWS),
            DEVICES * rate / VIEWS[0],
            DEVICES * rate / VIEWS[0] * read,
        ]
        for rate, how in _rates(content)
    ]
    hours = [f"hours, {n} views" for n in VIEWS]
    return [
        Shown(
            f"Views of {IMAGES:,} pictures, {name}, {width} numbers of 2 bytes",
            ["views", "passes", "GB", "blocks", "passes a block", "MB a block"],
            sizes,
        ),
        Shown(
            f"The same on {DEVICES} devices, and the pictures that {VIEWS[0]} views ask for",
            ["passes/s of one", "", *hours, "pictures/s", "cores that decode them"],
            rates,
        ),
    ]


def evaluating(content: Mapping[str, Any]) -> list[Shown]:
    """Cost of the comparison with the teacher: one pass of every val and target image per run."""
    facts = benchmarks()["domainnet"].hdg
    assert facts is not None
    target = "quickdraw"
    held_out = {name: int(0.2 * count) for name, count in DOMAINS.items()}
    sources = [name for name in DOMAINS if name != target]
    listed = facts.split_images["1"][target].values()
    cases = {
        "HDG's lists, hybridness 1": (
            sum(val or 0 for _, val in listed),
            sum(facts.target_images[target]),
        ),
        "DomainBed": (
            sum(held_out[name] for name in sources),
            DOMAINS[target] - held_out[target],
        ),
        "a tenth of the sources, the whole target": (
            sum(int(0.1 * DOMAINS[name]) for name in sources),
            DOMAINS[target],
        ),
    }
    rates = dict(_rates(content))
    shown = [rate for rate, how in rates.items() if how == "measured" or rate == 1000]
    rows = [
        [split, val, tested, val + tested, *((val + tested) / rate / 3600 for rate in shown)]
        for split, (val, tested) in cases.items()
    ]
    hours = [f"hours at {cell(float(rate))}/s, {rates[rate]}" for rate in shown]
    columns = ["split", "validation", "target", "passes of a run", *hours]
    return [Shown(f"Evaluating the teacher, target {target}", columns, rows)]


def pays() -> list[Shown]:
    """After how many runs a cache of all images has cost less than asking in every step."""
    rows: list[list[object]] = []
    for file in ("hdg/domainnet_resnet18_scipd.toml", "domainbed/domainnet_resnet50_scmd.toml"):
        recipe = tomllib.loads((RECIPES / file).read_text(encoding="utf-8"))
        train, method = recipe["train"], recipe["method"]
        images_seen = train["steps"] * train["batch_per_domain"] * (len(DOMAINS) - 1)
        # SCMD asks about the rows that it trains on.
        share = 1.0
        if method["name"] == "scmd":
            share = method["last_k"] + (1 - method["last_k"]) * method["worst_case_p"]
        asked = round(images_seen * share)
        rows.append(
            [file, images_seen, asked, *(math.floor(IMAGES * n / asked) + 1 for n in VIEWS)]
        )
    columns = ["recipe", "views of a run", "passes of a run"]
    columns += [f"runs until {n} views pay" for n in VIEWS]
    return [Shown(f"A cache of {IMAGES:,} images against asking in every step", columns, rows)]


def starting() -> list[Shown]:
    """Memory and file system calls of a process that starts."""
    rows: list[list[object]] = [
        [f"MB of {ROW_BYTES} bytes an image, assumed", IMAGES * ROW_BYTES / 1e6],
        [f"`stat` calls, {len(STORES)} stores ({', '.join(STORES)})", len(STORES) * IMAGES],
    ]
    return [Shown("Each process, at its start", ["what", "number"], rows)]


ARITHMETIC: dict[str, Callable[[], list[Shown]]] = {
    "scale-plain": plain,
    "scale-pays": pays,
    "scale-starting": starting,
}
MEASURED: dict[str, Callable[[Mapping[str, Any]], list[Shown]]] = {
    "scale-stored": stored,
    "scale-disk": disk,
    "scale-teacher": teacher,
    "scale-evaluating": evaluating,
}


def _facts() -> list[Any]:
    return list(benchmarks().values())


def _plain_bytes(side: int = 224) -> int:
    return 3 * side**2


def _plain_gb(count: int) -> float:
    return count * _plain_bytes() / 1e9


def _width(content: Mapping[str, Any]) -> int:
    return int(content["results"]["teacher"]["width"])


def _rates(content: Mapping[str, Any]) -> list[tuple[float, str]]:
    measured = content["results"]["teacher"]["views_per_second"]
    return [(measured, "measured"), *((rate, "assumed") for rate in RATES)]
