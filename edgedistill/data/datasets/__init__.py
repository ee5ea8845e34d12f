"""Datasets by the name a recipe calls them, one file each or one for a family."""

from edgedistill.data.datasets.load import load_dataset, load_index
from edgedistill.registries import DATASETS

__all__ = ["DATASETS", "load_dataset", "load_index"]
