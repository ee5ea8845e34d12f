"""Check that the images and classes that a sweep's runs need exist, before one starts."""

from collections.abc import Callable, Iterable

from edgedistill.data.datasets import load_index
from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import split_of
from edgedistill.errors import EdgeDistillError, SweepError
from edgedistill.sweep.plan import PlannedRun


def check_data(runs: Iterable[PlannedRun], print_line: Callable[[str], None]) -> None:
    """Index every dataset of the runs once, and resolve every split once.

    Args:
        print_line: prints a line; called before a dataset is indexed.

    Raises:
        SweepError: a dataset or split of a run is missing; names the first such run.
    """
    indexes: dict[tuple[str, str | None, str, bool], Index] = {}
    seen = set()
    for run in runs:
        data = run.recipe.data
        section = data.model_dump_json()
        if section in seen:
            continue
        seen.add(section)
        place = (data.dataset, data.root, data.layout, data.merge_spellings)
        try:
            if place not in indexes:
                print_line(f"{data.dataset}: looking through the images")
                indexes[place] = load_index(data)
            split_of(data, indexes[place])
        except EdgeDistillError as error:
            raise SweepError(f"run {run.name}: {error}") from None
