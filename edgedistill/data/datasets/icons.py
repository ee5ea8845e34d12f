"""The embedded benchmark of icons as a dataset."""

from edgedistill.data.icons.dataset import load_icons
from edgedistill.registries import DATASETS

DATASETS.add("icons", load_icons)
