"""Predictions on validation views: the same however many images a slice has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.views import ViewSpec, draw_views
from edgedistill.train.context import TrainContext
from edgedistill.train.predict import predict

SPEC = ViewSpec(0, (0.5, 1.0), (0.75, 4 / 3), 0.5, 0.3, 0.3, 0.3, 0.1, 0.1)


def test_views_are_the_same_slice_by_slice_as_at_once(
    tiny_context: Callable[..., TrainContext],
) -> None:
    context = tiny_context()
    pixels = np.random.default_rng(0).integers(0, 256, (13, 20, 20, 3), dtype=np.uint8)
    images = ImageSet.from_array(pixels)
    views = draw_views(SPEC, images.paths, np.zeros(13, np.int64))

    def scores(batch: int, views: np.ndarray | None) -> np.ndarray:
        labelled = LabelledImages(images, np.zeros(13, np.int64))
        cpu = torch.device("cpu")
        return predict(
            context.student,
            context.validator.openset,
            labelled,
            device=cpu,
            batch=batch,
            views=views,
            size=16,
        ).scores

    whole = scores(13, views)
    np.testing.assert_allclose(scores(5, views), whole, rtol=0, atol=1e-5)
    assert np.abs(scores(5, None) - whole).max() > 1e-3
