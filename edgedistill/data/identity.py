"""Identity of the images that a run trains and calibrates on. Needs no torch."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet
from edgedistill.data.index import Index
from edgedistill.data.protocols.resolve import OpenSetSplit


@dataclass(frozen=True)
class ImageIdentity:
    """Hashes of training and validation images.

    Attributes:
        digest: of them all with their labels and their order, hex.
        images: uint64 `[n, 3]`, a row for each: hash of its path, hash of its stored pixels, and
            twice its known label, plus 1 for validation. None where it was not recorded.
        paths: of the n images; empty where only hashes are known.
    """

    digest: str
    images: NDArray[np.uint64] | None = None
    paths: Sequence[str] = ()


def identify_images(
    dataset: OpenSetSplit,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    hashes: NDArray[np.uint64],
) -> ImageIdentity:
    """The identity of training and validation rows.

    Args:
        train, val: index rows, int64.
        hashes: `pixel_hash` of each row of the index.
    """
    rows = np.concatenate([train, val])
    paths = [dataset.index.paths[row] for row in rows]
    labels = dataset.split.known_label[dataset.index.label[rows]]
    return _identity(paths, labels, hashes[rows], len(train))


def identify_unlabelled(
    index: Index, train: NDArray[np.int64], val: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> ImageIdentity:
    """The identity of training and validation rows of images without classes.

    Args:
        train, val: index rows, int64.
        hashes: `pixel_hash` of each row of the index.
    """
    rows = np.concatenate([train, val])
    paths = [index.paths[row] for row in rows]
    return _identity(paths, np.zeros(len(rows), np.int64), hashes[rows], len(train))


def _identity(
    paths: Sequence[str],
    labels: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    train: int,
) -> ImageIdentity:
    """The identity of images of which the first `train` are trained on, the others validated on."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(os.fsencode("\n".join(paths)))
    digest.update(labels.tobytes())
    digest.update(hashes.tobytes())
    roles = 2 * labels + np.repeat([0, 1], [train, len(paths) - train])
    keys = np.array([_hash_path(path) for path in paths], np.uint64)
    images = np.column_stack([keys, hashes, roles.astype(np.uint64)])
    return ImageIdentity(digest.hexdigest(), images, paths)


def hash_images(parts: Sequence[ImageSet]) -> str:
    """Hash of several sets of images, hex: their paths, pixels and order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(os.fsencode("\n".join(part.paths[row] for row in part.rows)))
        digest.update(part.hashes().tobytes())
    return digest.hexdigest()


def describe_changes(before: ImageIdentity, now: ImageIdentity) -> str | None:
    """What is different about the images in words; None where nothing is.

    Args:
        before: perhaps without paths.
        now: with `images` and `paths`.
    """
    if before.digest == now.digest:
        return None
    if before.images is None or now.images is None:
        return "not the same ones"
    position = {int(key): row for row, key in enumerate(before.images[:, 0])}
    matches = [position.get(int(key), -1) for key in now.images[:, 0]]
    added = [row for row, old in enumerate(matches) if old < 0]
    common = [(row, old) for row, old in enumerate(matches) if old >= 0]
    other_pixels, other_role = (
        [row for row, old in common if now.images[row, column] != before.images[old, column]]
        for column in (1, 2)
    )
    gone = len(before.images) - len(common)
    parts = [
        f"{len(rows)} {what} (first {now.paths[rows[0]]})"
        for rows, what in (
            (added, "added"),
            (other_pixels, "with other pixels"),
            (other_role, "of another class or on another side of the split"),
        )
        if rows
    ]
    if gone:
        parts.append(f"{gone} gone")
    return ", ".join(parts) or "in another order"


def _hash_path(path: str) -> int:
    digest = hashlib.blake2b(os.fsencode(path), digest_size=8).digest()
    return int.from_bytes(digest, "little")
