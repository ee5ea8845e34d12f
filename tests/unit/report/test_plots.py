from collections.abc import Iterator
from io import BytesIO
from itertools import product
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from edgedistill.report import plots
from edgedistill.report.style import png

NONE = np.zeros(0)
RNG = np.random.default_rng(0)


def _texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def _opens(figure: Figure) -> None:
    with Image.open(BytesIO(png(figure, dpi=40))) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 20


def _groups() -> Iterator[Any]:
    """Every combination; fast are a quarter, in which every two values meet."""
    scores = ("max_softmax", "max_logit", "something new")
    thresholds = (0.4, 1.0, 0.0, -np.inf)
    known = (NONE, RNG.random(30), np.ones(5), np.zeros(1))
    unknown = (NONE, RNG.random(9))
    values = (scores, thresholds, known, unknown)
    for places in product(*(range(len(each)) for each in values)):
        chosen = [each[place] for each, place in zip(values, places, strict=True)]
        yield pytest.param(*chosen, marks=() if sum(places) % 4 == 0 else pytest.mark.slow)


@pytest.mark.parametrize(("score", "threshold", "known", "unknown"), list(_groups()))
def test_score_histogram_of_any_groups(
    score: str, threshold: float, known: np.ndarray, unknown: np.ndarray
) -> None:
    _opens(plots.score_histogram(known, known, unknown, threshold, score))


def test_score_histogram_counts_shares_of_each_group() -> None:
    figure = plots.score_histogram(NONE, RNG.normal(size=500), NONE, 0.5, "max_logit")
    bars = figure.axes[0].patches[0]
    assert bars.get_data().values.sum() == pytest.approx(1)
    assert "threshold 0.5" in _texts(figure) and "unknown classes" not in _texts(figure)


def test_confusion_matrix_of_few_and_of_many_classes() -> None:
    for classes in (1, 6, 30, 80):
        counts = RNG.integers(0, 9, size=(classes + 1, classes + 1))
        counts[-1] = 0
        figure = plots.confusion_matrix(counts, [f"class_{i}" for i in range(classes)])
        _opens(figure)
        assert "unknown" in _texts(figure)


def test_risk_coverage_marks_the_threshold() -> None:
    scores, correct = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, False, True, False])
    figure = plots.risk_coverage_curve({"target": (scores, correct)}, 0.5)
    assert "target: 50.0% wrong of the 50.0% kept" in _texts(figure)
    _opens(plots.risk_coverage_curve({"target": (scores, correct)}, 2.0))
    _opens(plots.risk_coverage_curve({"target": (NONE, NONE.astype(bool))}, -np.inf))


def test_keep_curve_marks_the_deployed_and_the_best_point() -> None:
    points = [
        {"keep": keep, "h_score": h, "known_acceptance": keep, "unknown_rejection": 1 - keep}
        for keep, h in ((0.5, 0.4), (0.7, 0.6), (0.95, 0.3))
    ]
    figure = plots.keep_curve(points, 0.95)
    assert "best: 60.0% at 0.7" in _texts(figure) and "deployed: 30.0% at 0.95" in _texts(figure)
    _opens(figure)
    _opens(plots.keep_curve(points[2:], 0.95))


def test_score_histogram_of_images_without_labels() -> None:
    figure = plots.score_histogram(
        RNG.normal(size=50), NONE, NONE, 0.5, "max_logit", unlabelled=RNG.normal(size=30)
    )
    assert "without labels, 30" in _texts(figure) and "unknown" not in _texts(figure)


def test_training_curves_tell_losses_from_the_rest() -> None:
    history = [
        {"step": 10 * i, "loss": 3.0, "distill": 1.0, "lr": 0.1, "val_accuracy": "", "seconds": i}
        for i in range(60)
    ]
    history[30]["val_accuracy"] = 0.75
    figure = plots.training_curves(history)
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert labels == ["total", "distill"]
    assert "best, the large dot: 75.0% at step 300" in _texts(figure)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"step": 0}],
        [{"loss": float("nan"), "lr": None}],
        [{"step": 1, "loss": -2.0, "a": "x"}],
    ],
)
def test_training_curves_of_a_run_that_recorded_little(history: list[dict[str, object]]) -> None:
    figure = plots.training_curves(history)
    assert "not recorded" in _texts(figure)
    _opens(figure)


def test_pictures_do_not_depend_on_or_change_the_users_settings() -> None:
    def draw() -> bytes:
        return png(plots.confusion_matrix(np.eye(3, dtype=int), ["a", "$b$"]), dpi=40)

    before = draw()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 10}):
        settings = dict(matplotlib.rcParams)
        assert draw() == before
        assert dict(matplotlib.rcParams) == settings
