"""The real images an export is checked, calibrated and measured on."""

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.data.images import LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.data.views import ViewBatch, draw_views, view_spec
from edgedistill.errors import DataError
from edgedistill.export.finished import FinishedRun


class ExportImages:
    """The images of a finished run at one input size.

    Raises: DataError when the dataset is not there, or is no longer the run's.
    """

    def __init__(self, run: FinishedRun, size: int) -> None:
        self.dataset: OpenSetSplit = resolve_split(run.recipe.data)
        if self.dataset.split.known != run.classes:
            raise DataError(
                f"{run.recipe.data.dataset}: its known classes are no longer those of "
                f"{run.path}; put the images back as they were, or train again"
            )
        self.size = size
        self._views = run.recipe.views
        self._store: Store = open_store(self.dataset.index, size)

    def validation(self) -> LabelledImages:
        """Source validation: known classes, never trained on."""
        return self._labelled(self.dataset.split.val)

    def target(self) -> LabelledImages:
        """The unseen domain's test images, known and unknown."""
        return self._labelled(self.dataset.target)

    def source_unknown(self) -> LabelledImages:
        """Images of the recipe's unknown classes in the source domains; none is trained on."""
        index, split = self.dataset.index, self.dataset.split
        unknown = [index.class_id(name) for name in split.unknown]
        sources = [index.domains.index(name) for name in split.sources]
        rows = np.flatnonzero(np.isin(index.label, unknown) & np.isin(index.domain, sources))
        return self._labelled(rows[self._store.readable[rows]])

    def sample(self, wanted: int) -> LabelledImages:
        """Up to `wanted` images evenly over source validation, then over training."""
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

    def _labelled(self, rows: NDArray[np.int64]) -> LabelledImages:
        return self.dataset.label(self._store.images(rows))


def _evenly(rows: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    count = min(max(wanted, 0), len(rows))
    return rows[np.arange(count) * len(rows) // max(count, 1)]
