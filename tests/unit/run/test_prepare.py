"""What training is given: the same pixels, however little of it is in memory."""

from __future__ import annotations

import numpy as np
import torch

from edgedistill.data.views import ViewSpec, render_views, view_parameters
from edgedistill.run.prepare import FirstViews

SPEC = ViewSpec(0, (0.5, 1.0), (0.75, 4 / 3), 0.5, 0.3, 0.3, 0.3, 0.1, 0.1)


def test_validation_views_are_the_same_slice_by_slice_as_at_once() -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (13, 20, 20, 3), dtype=np.uint8)
    keys = rng.integers(0, 2**63, 13).astype(np.uint64)
    parameters = view_parameters(SPEC, keys, np.zeros(13, np.int64))
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2)
    whole = render_views(pixels, torch.from_numpy(parameters), 16)
    views = FirstViews(stored, parameters, 16)
    assert len(views) == 13
    parts = torch.cat([views[start : start + 5] for start in range(0, len(views), 5)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
