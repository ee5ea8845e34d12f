"""The published benchmarks of domain generalization as datasets, read from the user's copy."""

from pathlib import Path

from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.published.tree import read_benchmark
from edgedistill.errors import DataError
from edgedistill.registries import DATASETS


class BenchmarkReader:
    """Reader of a published benchmark; `name` is a key of `benchmarks()`."""

    def __init__(self, name: str) -> None:
        self.name = name
        facts = benchmarks()[name]
        self.summary = (
            f"{facts.title}: {len(facts.domains)} domains, {len(facts.classes)} classes, not part "
            "of this package"
        )

    def __call__(self, root: str | Path | None = None) -> Index:
        """The whole benchmark below a folder. Raises DataError, see `read_benchmark`."""
        if root is None:
            raise DataError(
                f"data.root: {benchmarks()[self.name].title} is not part of this package; set "
                "data.root to your copy of it"
            )
        return read_benchmark(self.name, root)


for _name in benchmarks():
    DATASETS.add(_name, BenchmarkReader(_name))
