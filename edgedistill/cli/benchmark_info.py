"""`edgedistill data info pacs --root DIR`: a copy of a benchmark against what is published."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from edgedistill import callbacks
from edgedistill._utils.atomic import replacing
from edgedistill._utils.console import ConsoleCallback
from edgedistill.cli.tables import print_json, print_table
from edgedistill.data.contact_sheet import contact_sheet
from edgedistill.data.published.check import Check, CountRow, check_benchmark
from edgedistill.data.store.image_store import open_store

_CHECK_SIZE = 64
# Lines of one kind; a wrong copy of DomainNet has thousands.
_SHOWN = 20


def show_benchmark(name: str, root: Path, lists: Path | None, sheet: Path, as_json: bool) -> int:
    """Counts, differences and unreadable files; 1 when there is any of the last two."""
    check = check_benchmark(name, root, None if lists is None else str(lists))
    # Decoding every file once is the only way to know that it can be read.
    with callbacks.reporting([ConsoleCallback()]):
        problems = open_store(check.index, _CHECK_SIZE).problems()
    with replacing(sheet) as temporary:
        contact_sheet(check.index).save(temporary, format="PNG")
    if as_json:
        print_json(
            {
                "dataset": name,
                "root": str(check.index.root),
                "edition": check.edition,
                "domains": [asdict(row) for row in check.domains],
                "lists": None if check.lists is None else str(check.lists),
                "list_counts": [asdict(row) for row in check.list_rows],
                "findings": list(check.findings),
                "problems": list(problems),
                "contact_sheet": str(sheet),
            }
        )
    else:
        _print(check, problems, sheet)
    return 1 if check.findings or problems else 0


def _print(check: Check, problems: tuple[str, ...], sheet: Path) -> None:
    title = f"{check.index.root}: {len(check.index)} images"
    print_table(title, ["domain", "images", check.edition], _cells(check.domains))
    if check.list_rows:
        print_table(str(check.lists), ["list", "images", "published"], _cells(check.list_rows))
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if check.lists is None:
        console.print("image lists    none found; HDG's train and val parts are then split by hash")
    console.print(f"contact sheet  {sheet}")
    if not check.findings and not problems:
        console.print(f"agrees with the published counts of {check.title}")
    if check.findings:
        console.print(f"{len(check.findings)} differences to {check.title} as published:")
        _print_some(console, check.findings)
    if problems:
        console.print(f"{len(problems)} files need attention:")
        _print_some(console, problems)


def _cells(rows: tuple[CountRow, ...]) -> list[list[str]]:
    return [
        [row.name, str(row.found), "?" if row.published is None else str(row.published)]
        for row in rows
    ]


def _print_some(console: Console, lines: tuple[str, ...]) -> None:
    for line in lines[:_SHOWN]:
        console.print(f"  {line}")
    if len(lines) > _SHOWN:
        console.print(f"  and {len(lines) - _SHOWN} more; --json lists all")
