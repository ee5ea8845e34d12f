"""Whether the images and classes that a sweep's runs ask for can be had, before one starts."""

from collections.abc import Callable, Iterable

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import split_of
from edgedistill.errors import EdgeDistillError, SweepError
from edgedistill.sweep.plan import PlannedRun


def check_data(runs: Iterable[PlannedRun], say: Callable[[str], None]) -> None:
    """Find every dataset of the runs once, and make every split once.

    `say` is told before a dataset is looked through. Raises EdgeDistillError, naming the first run
    that cannot have what it asks for.
    """
    indexes: dict[tuple[str, str | None], Index] = {}
    seen = set()
    for run in runs:
        data = run.recipe.data
        section = data.model_dump_json()
        if section in seen:
            continue
        seen.add(section)
        place = (data.dataset, data.root)
        try:
            if place not in indexes:
                say(f"{data.dataset}: looking through the images")
                indexes[place] = load_dataset(*place)
            split_of(data, indexes[place])
        except EdgeDistillError as error:
            raise SweepError(f"run {run.name}: {error}") from None
