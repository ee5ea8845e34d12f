"""Rendering of this folder's measurements into its RESULTS.md and SCALE.md, with the commands.

    python -m benchmarks.speed.render
    python -m benchmarks.speed.render --check       # status 1 if a page would change

Between `<!-- begin NAME -->` and `<!-- end NAME -->` stand the tables of results/NAME.json and of
every results/NAME-*.json, such as one from another machine. Where there is none the page says so,
and which command makes it. A NAME of `scale.py` stands for what that works out, from the results of
`throughput.py` where it needs rates.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.scale import ARITHMETIC, MEASURED
from benchmarks.speed.tables import RESULTS, Shown, cell

PAGES = [Path(__file__).parent / name for name in ("RESULTS.md", "SCALE.md")]
_BLOCK = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def rendered(page: str, results: Path) -> str:
    """The page with everything between its markers made anew from a folder of results."""
    return _BLOCK.sub(lambda match: f"{match[1]}{block(match[2], results)}{match[3]}", page)


def block(name: str, results: Path) -> str:
    """Text between the markers of a name."""
    if name in ARITHMETIC:
        return f"\n{shown(ARITHMETIC[name]())}\n"
    script = "throughput" if name in MEASURED else name
    files = [results / f"{script}.json", *sorted(results.glob(f"{script}-*.json"))]
    records = [json.loads(f.read_text(encoding="utf-8")) for f in files if f.is_file()]
    if not records:
        return f"\nNot measured yet. `python -m benchmarks.speed.{script}` measures it.\n\n"
    return (
        "\n"
        + "\n".join(f"{measured(content)}{_tables(name, content)}" for content in records)
        + "\n"
    )


def measured(content: Mapping[str, Any]) -> str:
    """The command of a result file, and the machine and the commit it was run on."""
    machine = content["machine"]
    device = "" if machine["device"] == "cpu" else f"{machine['device']}, "
    load = max(machine["load"])
    # Half a core of something else is noise; more than all of them is not.
    busy = f"; load {load:g}, so not alone on it" if load > machine["cores"] + 0.5 else ""
    commit = f"; commit {content['commit']}" if content.get("commit") else ""
    return (
        f"    {content['command']}\n\n"
        f"{device}{machine['processor']}, {machine['cores']} cores, threads {machine['threads']}, "
        f"torch {machine['torch']}{busy}{commit}.\n\n"
    )


def shown(tables: Sequence[Shown]) -> str:
    """Tables under their titles."""
    lines = []
    for table in tables:
        lines += [f"{table.title}:", "", *markdown(table.columns, table.rows), ""]
    return "\n".join(lines)


def _tables(name: str, content: Mapping[str, Any]) -> str:
    if name in MEASURED:
        return shown(MEASURED[name](content))
    return shown([Shown(**table) for table in content["tables"]])


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table; columns of numbers lie to the right."""
    numbers = [all(isinstance(row[at], int | float) for row in rows) for at in range(len(columns))]
    marks = ["---:" if right else "---" for right in numbers]
    body = [[cell(value) for value in row] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in ([*columns], marks, *body)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, action="append", help="[default: both]")
    options = parser.parse_args()
    for page in options.page or PAGES:
        before = page.read_text(encoding="utf-8")
        after = rendered(before, options.results)
        if options.check:
            if after != before:
                sys.exit(f"{page} is not what {options.results} says: run this without --check")
            continue
        page.write_text(after, encoding="utf-8")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
