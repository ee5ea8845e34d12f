"""The published benchmarks of domain generalization as datasets, read from the user's copy."""

from pathlib import Path

from edgedistill.data.index import Index
from edgedistill.data.published.benchmarks import benchmarks
from edgedistill.data.published.tree import read_benchmark
from edgedistill.registries import DATASETS


class PublishedDataset:
    """Reader of a published benchmark; `name` is a key of `benchmarks()`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.summary = benchmarks()[name].title

    def __call__(self, root: str | Path) -> Index:
        """The whole benchmark below a folder. Raises DataError, see `read_benchmark`."""
        return read_benchmark(self.name, root)


for _name in benchmarks():
    DATASETS.add(_name, PublishedDataset(_name))
