"""Pools of drawn images that belong to no class, as an index with a domain for each style."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedistill.data.index import Index
from edgedistill.data.readers.unlabelled import read_unlabelled


def read_pool(root: Path, styles: Sequence[str]) -> Index:
    """The images of `root`/style, at any depth: an index without classes, a domain per style.

    Raises DataError where there is none, or the folder cannot be read.
    """
    index = read_unlabelled(root, "data.unlabelled")
    domain = [styles.index(path.partition("/")[0]) for path in index.paths]
    return replace(index, domains=tuple(styles), domain=np.array(domain, np.int64))
