"""`edgedistill data`: contents of a dataset, and a copy of a benchmark against its paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.callbacks import Callback, reporting
from edgedistill.cli.options import AsJson, Overrides
from edgedistill.cli.tables import print_json, print_lines, print_table
from edgedistill.errors import UsageError

if TYPE_CHECKING:
    from edgedistill.data.info import BenchmarkInfo, DatasetInfo
    from edgedistill.data.published.check import CountRow

app = typer.Typer(help="Look at a dataset.", no_args_is_help=True)

# Lines of one kind; a wrong copy of DomainNet has thousands.
_SHOWN = 20


@app.command()
def info(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder of images, a .csv file, a recipe, or the name of a dataset.",
        ),
    ] = "emoji",
    root: Annotated[
        Path | None, typer.Option(help="Your copy of the benchmark: check it against its paper.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of HDG's image lists [default: below --root].")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Count train, val and test for this target: a domain or a folder."),
    ] = None,
    overrides: Overrides = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a contact sheet, a PNG.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Count domains, classes and split, and name bad files."""
    benchmarks = ed.list_benchmarks()
    callbacks = [ed.ConsoleCallback()]
    if source in benchmarks and root is not None:
        if target is not None or overrides:
            raise UsageError(
                f"{'--set' if target is None else f'--target {target}'}: give a recipe to count "
                "its split, not the name of a benchmark"
            )
        benchmark = ed.benchmark_info(source, root, lists=lists, callbacks=callbacks)
        _write_sheet(benchmark, sheet, callbacks)
        (_print_benchmark_json if as_json else _print_benchmark)(source, benchmark, sheet)
        return int(bool(benchmark.check.findings or benchmark.problems))
    if root is not None or lists is not None:
        raise UsageError(
            f"--root and --lists are for {', '.join(benchmarks)}; the paths of a .csv file or of "
            "image lists start from another folder with --set data.root=DIR"
        )
    dataset = ed.dataset_info(source, target=target, overrides=overrides or [], callbacks=callbacks)
    _write_sheet(dataset, sheet, callbacks)
    (_print_dataset_json if as_json else _print_dataset)(dataset, sheet)
    return 0


def _write_sheet(
    info: "DatasetInfo | BenchmarkInfo", path: Path | None, callbacks: Sequence[Callback]
) -> None:
    if path is None:
        return
    from edgedistill._utils.atomic import replacing

    with reporting(callbacks), replacing(path) as temporary:
        info.contact_sheet().save(temporary, format="PNG")


def _print_dataset_json(dataset: "DatasetInfo", sheet: Path | None) -> None:
    print_json(
        {
            "root": str(dataset.index.root),
            "domains": list(dataset.index.domains),
            "classes": dataset.classes,
            "layout": dataset.layout,
            "target": dataset.target,
            "test_kind": dataset.test_kind,
            "unlabelled_images": dataset.unlabelled,
            "training_unlabelled": dict(dataset.training_unlabelled),
            "problems": list(dataset.problems),
            "omitted": list(dataset.index.omitted),
            "similar": list(dataset.similar),
            "notes": list(dataset.notes),
            "contact_sheet": None if sheet is None else str(sheet),
        }
    )


def _print_dataset(dataset: "DatasetInfo", sheet: Path | None) -> None:
    index = dataset.index
    parts = ["train", "val", "test"] if dataset.test_kind else []
    counts = [[*row.images, *(getattr(row, p) for p in parts)] for row in dataset.classes]
    cells = [
        [row.name, row.role, *map(str, numbers)]
        for row, numbers in zip(dataset.classes, counts, strict=True)
    ]
    cells.append(["all", "", *(str(sum(column)) for column in zip(*counts, strict=True))])
    title = f"{index.root}: {len(index)} images"
    print_table(title, ["class", "", *index.domains, *parts], cells)
    if dataset.layout is not None:
        print_lines(f"layout         {dataset.layout}")
    if dataset.test_kind is not None:
        print_lines(f"test           {_test_text(dataset)}")
    for entry, count in dataset.training_unlabelled.items():
        print_lines(f"unlabelled     {count} images of {entry} may join the training")
    _print_sheet(sheet)
    if dataset.notes:
        print_lines(*dataset.notes)
    if dataset.similar:
        print_lines("names that look alike:", *(f"  {line}" for line in dataset.similar))
    if index.omitted:
        print_lines("left out:", *(f"  {line}" for line in index.omitted))
    if dataset.problems:
        print_lines(f"{len(dataset.problems)} files need attention:")
        print_lines(*(f"  {line}" for line in dataset.problems))


def _test_text(dataset: "DatasetInfo") -> str:
    """What the column `test` counts."""
    domains = "domain" if len(dataset.index.domains) == 1 else "domains"
    return {
        "unseen domain": f"domain {dataset.target}; train and val count the other domains",
        "held-out": f"held-out images of the same {domains}",
        "unlabelled": f"{dataset.unlabelled} images without classes in {dataset.target}",
        "none": "none",
    }[dataset.test_kind or "none"]


def _print_sheet(sheet: Path | None) -> None:
    if sheet is not None:
        print_lines(f"contact sheet  {sheet}")


def _print_benchmark_json(name: str, benchmark: "BenchmarkInfo", sheet: Path | None) -> None:
    check = benchmark.check
    print_json(
        {
            "dataset": name,
            "root": str(check.index.root),
            "edition": check.edition,
            "domains": check.domains,
            "lists": None if check.lists is None else str(check.lists),
            "list_counts": check.list_rows,
            "findings": list(check.findings),
            "problems": list(benchmark.problems),
            "contact_sheet": None if sheet is None else str(sheet),
        }
    )


def _print_benchmark(name: str, benchmark: "BenchmarkInfo", sheet: Path | None) -> None:
    check, problems = benchmark.check, benchmark.problems
    title = f"{check.index.root}: {len(check.index)} images"
    print_table(title, ["domain", "images", check.edition], _count_cells(check.domains))
    if check.list_rows:
        cells = _count_cells(check.list_rows)
        print_table(str(check.lists), ["list", "images", "published"], cells)
    if check.lists is None:
        print_lines("image lists    none found; HDG's train and val parts are then split by hash")
    _print_sheet(sheet)
    if not check.findings and not problems:
        print_lines(f"agrees with the published counts of {check.title}")
    if check.findings:
        print_lines(f"{len(check.findings)} differences to {check.title} as published:")
        _print_some(check.findings)
    if problems:
        print_lines(f"{len(problems)} files need attention:")
        _print_some(problems)


def _count_cells(rows: "tuple[CountRow, ...]") -> list[list[str]]:
    return [
        [row.name, str(row.found), "?" if row.published is None else str(row.published)]
        for row in rows
    ]


def _print_some(lines: tuple[str, ...]) -> None:
    print_lines(*(f"  {line}" for line in lines[:_SHOWN]))
    if len(lines) > _SHOWN:
        print_lines(f"  and {len(lines) - _SHOWN} more; --json lists all")
