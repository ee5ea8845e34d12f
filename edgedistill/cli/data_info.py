"""`edgedistill data info`: what a dataset holds, and how it looks."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console

from edgedistill import callbacks
from edgedistill._utils.atomic import replacing
from edgedistill._utils.console import ConsoleCallback
from edgedistill.cli.benchmark_info import show_benchmark
from edgedistill.cli.tables import print_json, print_table
from edgedistill.data.contact_sheet import contact_sheet
from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import Index
from edgedistill.data.info import dataset_table
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.protocols.split import Split, make_split
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import UsageError
from edgedistill.recipe import load_recipe

_CHECK_SIZE = 64


def show_data(
    source: str,
    target: str | None,
    sheet: Path,
    as_json: bool,
    root: Path | None = None,
    lists: Path | None = None,
) -> int:
    """Tables on stdout, the contact sheet as a PNG.

    `source` is what `load_dataset` takes, or a recipe, whose split is then counted. A benchmark
    called by its name is compared with what is published; returns 1 where it differs, else 0.
    """
    if source in benchmarks() and root is not None:
        if target is not None:
            raise UsageError(
                f"--target {target}: give a recipe to count its split, not the name of a benchmark"
            )
        return show_benchmark(source, root, lists, sheet, as_json)
    if root is not None or lists is not None:
        raise UsageError(
            f"--root and --lists are for {', '.join(benchmarks())}; {source} takes neither"
        )
    with callbacks.reporting([ConsoleCallback()]):
        index, split = _load(source, target)
        # Decoding every file once is the only way to know that it can be read.
        problems = (*index.problems, *open_store(index, _CHECK_SIZE).problems())
    with replacing(sheet) as temporary:
        contact_sheet(index).save(temporary, format="PNG")
    rows = dataset_table(index, split)
    if as_json:
        print_json(
            {
                "root": str(index.root),
                "domains": list(index.domains),
                "classes": [asdict(row) for row in rows],
                "target": split.target if split else None,
                "problems": list(problems),
                "contact_sheet": str(sheet),
            }
        )
        return 0
    parts = ["train", "val", "test"] if split else []
    cells = [
        [row.name, row.role, *map(str, row.images), *(str(getattr(row, p)) for p in parts)]
        for row in rows
    ]
    counts = np.array([[*row.images, *(getattr(row, p) for p in parts)] for row in rows])
    cells.append(["all", "", *map(str, counts.sum(0).tolist())])
    title = f"{index.root}: {len(index)} images"
    print_table(title, ["class", "", *index.domains, *parts], cells)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if split:
        console.print(f"target         {split.target}; train and val count the other domains")
    console.print(f"contact sheet  {sheet}")
    if problems:
        console.print(f"{len(problems)} files need attention:")
        for line in problems:
            console.print(f"  {line}")
    return 0


def _load(source: str, target: str | None) -> tuple[Index, Split | None]:
    if source.endswith(".toml"):
        sets = [] if target is None else [f'data.target="{target}"']
        dataset = resolve_split(load_recipe(Path(source), sets).data)
        return dataset.index, dataset.split
    index = load_dataset(source)
    return index, make_split(index, target=target) if target else None
