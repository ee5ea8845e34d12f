"""The real images an export is checked, calibrated and measured on."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.home import expand_home
from edgedistill.data.identity import describe_changes, identify_images
from edgedistill.data.images import LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.data.views import ViewBatch, draw_views, view_spec
from edgedistill.errors import DataError, UsageError
from edgedistill.export.finished import FinishedRun
from edgedistill.recipe.schema import DataSection
from edgedistill.registries import DATASETS
from edgedistill.runtime.contract import UNKNOWN_LABEL
from edgedistill.students import architecture


def input_side(run: FinishedRun, size: int | None) -> int:
    """The side in pixels of a file's input, the run's where `size` is None.

    Raises UsageError for another side than the run's of a network that has but one.
    """
    section = run.recipe.student
    side = size or section.size
    if side != section.size and architecture(section.model).fixed_size:
        raise UsageError(
            f"size: {section.model} was built for {section.size} pixels and takes no {side}; "
            "leave the size out, or train at that size"
        )
    return side


class ExportImages:
    """The images of a finished run at one input size.

    Of a run that was given other classes, the labelled images of these classes; without any, images
    of the run, of which none has a label among them.

    Raises: DataError when the images are not there, or are no longer the run's.
    """

    def __init__(self, run: FinishedRun, size: int) -> None:
        self.size = size
        self._run = run
        self._views = run.recipe.views
        self._given = run.prompted.images if run.prompted else None

    @cached_property
    def dataset(self) -> OpenSetSplit:
        """Images and split of the run's training."""
        run = self._run.prompted.run if self._run.prompted else self._run
        _refuse_missing(run)
        dataset = _resolve(run)
        if dataset.split.known != run.classes:
            raise DataError(
                f"{run.recipe.data.dataset}: its known classes are no longer those of "
                f"{run.path}; put the images back as they were, or train again"
            )
        self._refuse_others(run, dataset)
        return dataset

    def _refuse_others(self, run: FinishedRun, dataset: OpenSetSplit) -> None:
        """Refuse images that the run was not trained on, and a split that it did not have."""
        if run.images is None:
            callbacks.current().on_warning(
                f"{run.path}: environment.json does not say which images it was trained on; they "
                "are taken to be the ones there are now"
            )
            return
        store, split = open_store(dataset.index, self._views.store_size), dataset.split
        train, val = (rows[store.readable[rows]] for rows in (split.train, split.val))
        changes = describe_changes(run.images, identify_images(dataset, train, val, store.hashes))
        if changes is not None:
            raise DataError(
                f"{dataset.index.root}: its training and validation images are no longer those of "
                f"{run.path}: {changes}; put them back as they were, name the folder that they "
                "moved to with --data FOLDER, or train again"
            )

    def validation(self) -> LabelledImages:
        """Source validation, or the images given: of known classes, never trained on."""
        if self._given is not None:
            return self._labelled(np.flatnonzero(self._given_labels >= 0))
        return self._labelled(self.dataset.split.val)

    def target(self) -> LabelledImages:
        """The run's labelled test images, known and unknown; none where it has no such test."""
        return self._labelled(self.dataset.target)

    def source_unknown(self) -> LabelledImages:
        """Images of unknown classes in the source domains but for test images, or given ones.

        None is trained on.
        """
        if self._given is not None:
            unknown_rows = np.flatnonzero(self._given_labels < 0)
            return self._labelled(unknown_rows[self._store.readable[unknown_rows]])
        index, split = self.dataset.index, self.dataset.split
        unknown = [index.class_id(name) for name in split.unknown]
        sources = [index.domains.index(name) for name in split.sources]
        rows = np.flatnonzero(np.isin(index.label, unknown) & np.isin(index.domain, sources))
        rows = np.setdiff1d(rows, self.dataset.target)
        return self._labelled(rows[self._store.readable[rows]])

    def sample(self, wanted: int) -> LabelledImages:
        """Up to `wanted` images evenly over source validation, then over training.

        Evenly over the images given, where there are any.
        """
        if self._given is not None:
            return self._labelled(_evenly(np.arange(len(self._given)), wanted))
        val = _evenly(self.dataset.split.val, wanted)
        train = _evenly(self.dataset.split.train, wanted - len(val))
        return self._labelled(np.concatenate([val, train]))

    def training_views(self, count: int) -> NDArray[np.uint8]:
        """One augmented view each of up to `count` training images: uint8 [n, S, S, 3].

        What the student was trained on, so what calibration of its activations should see.
        """
        index = self.dataset.index
        stored = open_store(index, self._views.store_size)
        rows = _evenly(self.dataset.split.train, count)
        rows = rows[stored.readable[rows]]
        paths = (index.paths[row] for row in rows)
        parameters = draw_views(view_spec(self._views), paths, np.zeros(len(rows), np.int64))
        batch = ViewBatch(torch.from_numpy(stored.gather(rows)), torch.from_numpy(parameters))
        views = batch.render(self.size)
        return views.permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).contiguous().numpy()

    @cached_property
    def _store(self) -> Store:
        index = self.dataset.index if self._given is None else self._given
        return open_store(index, self.size)

    @cached_property
    def _given_labels(self) -> NDArray[np.int64]:
        """Position among the run's classes of each image given, -1 for another class."""
        assert self._given is not None
        position = {name: number for number, name in enumerate(self._run.classes)}
        known = np.array([position.get(name, -1) for name in self._given.classes], np.int64)
        return known[self._given.label]

    def _labelled(self, rows: NDArray[np.int64]) -> LabelledImages:
        images = self._store.images(rows)
        if self._given is not None:
            return LabelledImages(images, self._given_labels[images.rows])
        labelled = self.dataset.label(images)
        if self._run.prompted is None:
            return labelled
        return replace(labelled, labels=np.full(len(labelled), UNKNOWN_LABEL, np.int64))


def _resolve(run: FinishedRun) -> OpenSetSplit:
    """Images and split of a run, without its images without labels, which may be gone by now."""
    data = run.recipe.data
    if run.metrics.get("test_kind") != "unlabelled":
        return resolve_split(data)
    dataset = resolve_split(data.model_copy(update={"target": None, "test_fraction": 0.0}))
    nothing = np.zeros(0, np.int64)
    return replace(dataset, target=nothing, target_labels=nothing)


def _refuse_missing(run: FinishedRun) -> None:
    data = run.recipe.data
    for path in (data.root, None if data.dataset in DATASETS else data.dataset):
        if path is not None and not expand_home(path).exists():
            raise DataError(
                f"{path}: not there, and {run.path} was trained on its images; name the folder "
                "that they moved to with --data FOLDER"
            )


def moved_data(data: DataSection, folder: str | Path) -> DataSection:
    """The section [data] of images that lie in another folder now.

    Raises DataError where there is no such folder, or the dataset has none.
    """
    path = Path(folder)
    if not path.exists():
        raise DataError(f"{path}: no such folder; name the one that the images moved to")
    if data.root is not None and path.is_dir():
        return data.model_copy(update={"root": str(path)})
    if data.dataset in DATASETS:
        raise DataError(f"data: {data.dataset} has no folder that could move; leave it out")
    return data.model_copy(update={"dataset": str(path)})


def _evenly(rows: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    count = min(max(wanted, 0), len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]
