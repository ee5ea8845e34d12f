"""Features in two dimensions: the same for the same seed, and near where they were near."""

from __future__ import annotations

import numpy as np

from edgedistill.runs.stages.feature_maps import SMALLEST, embed_2d


def test_groups_of_features_stay_groups() -> None:
    rng = np.random.default_rng(0)
    centers = np.repeat(np.eye(3, 16), 10, axis=0)
    features = centers + 0.05 * rng.standard_normal(centers.shape)
    points = embed_2d(features, 0)
    assert points.shape == (30, 2) and np.isfinite(points).all()
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(distances, np.inf)
    group = np.arange(30) // 10
    assert (group[distances.argmin(1)] == group).all()


def test_the_seed_decides() -> None:
    features = np.random.default_rng(0).standard_normal((SMALLEST, 4))
    assert np.array_equal(embed_2d(features, 1), embed_2d(features, 1))
    assert not np.array_equal(embed_2d(features, 1), embed_2d(features, 2))
