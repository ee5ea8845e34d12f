"""The embedded benchmark of emoji as a dataset."""

from edgedistill.data.emoji.dataset import load_emoji
from edgedistill.registries import DATASETS

DATASETS.add("emoji", load_emoji)
