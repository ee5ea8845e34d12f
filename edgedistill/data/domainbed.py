"""DomainBed's split of an environment: which images it holds out, to the image.

Gulrajani & Lopez-Paz, "In Search of Lost Domain Generalization", arXiv 2007.01434.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def seed_hash(*values: int | str) -> int:
    """DomainBed's seed from several values: MD5 of their tuple's text, below 2**31."""
    digest = hashlib.md5(str(values).encode(), usedforsecurity=False).hexdigest()
    return int(digest, 16) % 2**31


def environment_split(
    images: int, *, trial: int, environment: int, holdout: float = 0.2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The held-out positions ("out") and the others ("in") of an environment's sorted images.

    Args:
        images: how many the environment has.
        trial: trial seed.
        environment: position of the environment among the dataset's.
        holdout: share held out, rounded down.
    """
    keys = list(range(images))
    np.random.RandomState(seed_hash(trial, environment)).shuffle(keys)
    count = int(images * holdout)
    return np.array(keys[:count], dtype=np.int64), np.array(keys[count:], dtype=np.int64)
