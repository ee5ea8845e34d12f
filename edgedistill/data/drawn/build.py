"""Datasets drawn from installed art, as folder trees that are read like a user's own."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from edgedistill import callbacks
from edgedistill._utils.cpus import available_cpus
from edgedistill.data.readers.folder import DESCRIPTION_FILE, FolderDescription

Subject = TypeVar("Subject")


def draw_dataset(
    root: Path,
    folders: Iterable[str],
    subjects: Sequence[Subject],
    draw: Callable[[Subject], Mapping[str, Image.Image]],
    description: FolderDescription | None,
    *,
    work: str,
    unit: str,
) -> None:
    """Draw a dataset into an existing folder, in all cores, and describe it there if it is one.

    Args:
        root: the folder.
        folders: "domain/class" of every class folder, or "domain" where there are no classes.
        subjects: what is drawn; each may give several images.
        draw: path below `root` -> image, of one subject.
        description: the contents of the tree's `edgedistill.json`; None for images without classes.
        work, unit: the progress in words, and a word for the subjects.
    """
    for folder in folders:
        (root / folder).mkdir(parents=True)

    def save(subject: Subject) -> None:
        for path, image in draw(subject).items():
            image.save(root / path)

    with (
        callbacks.current().progress(work, unit) as update,
        ThreadPoolExecutor(available_cpus()) as pool,
    ):
        for done, _ in enumerate(pool.map(save, subjects), 1):
            update(done, len(subjects))
    if description is None:
        return
    text = json.dumps(description.model_dump(exclude_defaults=True), indent=1, ensure_ascii=False)
    (root / DESCRIPTION_FILE).write_text(text + "\n", encoding="utf-8")
