"""Put what the scripts here found into docs/performance.md, each table with its command.

    python benchmarks/speed/render.py
    python benchmarks/speed/render.py --check       # status 1 if the page would change

Between `<!-- begin NAME -->` and `<!-- end NAME -->` stand the tables of results/NAME.json and of
every results/NAME-*.json, such as one from another machine. Where there is none the page says so,
and which command makes it.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tables import RESULTS, cell

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def rendered(page: str, results: Path) -> str:
    """The page with everything between its markers made anew from a folder of results."""
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found[2], results)}{found[3]}", page)


def block(name: str, results: Path) -> str:
    """What stands between the markers of a script's name."""
    files = [results / f"{name}.json", *sorted(results.glob(f"{name}-*.json"))]
    parts = [measured(json.loads(f.read_text(encoding="utf-8"))) for f in files if f.is_file()]
    if not parts:
        return f"\nNot measured yet. `python benchmarks/speed/{name}.py` measures it.\n\n"
    return "\n" + "\n".join(parts) + "\n"


def measured(content: Mapping[str, Any]) -> str:
    """The tables of one result file, under the command and the machine."""
    machine = content["machine"]
    device = "" if machine["device"] == "cpu" else f"{machine['device']}, "
    load = max(machine["load"])
    # Half a core of something else is noise; more than all of them is not.
    busy = f"; load {load:g}, so not alone on it" if load > machine["cores"] + 0.5 else ""
    lines = [
        f"    {content['command']}",
        "",
        f"{device}{machine['processor']}, {machine['cores']} cores, threads {machine['threads']}, "
        f"torch {machine['torch']}{busy}.",
        "",
    ]
    for table in content["tables"]:
        lines += [f"{table['title']}:", "", *markdown(table["columns"], table["rows"]), ""]
    return "\n".join(lines)


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
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    before = options.page.read_text(encoding="utf-8")
    after = rendered(before, options.results)
    if options.check:
        if after != before:
            sys.exit(f"{options.page} is not what {options.results} says: run this without --check")
        return
    options.page.write_text(after, encoding="utf-8")
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
