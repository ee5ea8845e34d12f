"""Plots of a run's report, as matplotlib Figures.

No meaning rests on colour alone. A class or a group may have no images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)
from numpy.typing import NDArray
from scipy.special import expit, logit

from edgedistill.openset.metrics import risk_coverage
from edgedistill.registries import SCORES
from edgedistill.report.data import FeatureMaps
from edgedistill.report.gallery import shorten
from edgedistill.report.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    styled,
)

_NOT_LOSSES = ("step", "epoch", "seconds", "time")


@styled
def training_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses, source-validation accuracy and learning rate over steps.

    `history` rows are mappings with "step", loss terms ("loss" = total), "val_accuracy" and "lr";
    any of them may be missing, None or an empty string in a row.
    """
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    losses, accuracy, rate = figure.subplots(1, 3, width_ratios=[1.3, 1, 0.8])
    names = list(dict.fromkeys(name for row in history for name in row))
    terms = [
        name
        for name in names
        if name not in _NOT_LOSSES and not name.startswith(("lr", "val_", "test_", "best_"))
    ]
    colors = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY]
    for number, name in enumerate(sorted(terms, key=lambda term: term != "loss")):
        step, value = _column(history, name)
        if not len(step):
            continue
        total = name == "loss"
        color = INK if total else colors[(number - 1) % len(colors)]
        smooth = _running_mean(value)
        if len(value) >= 40:
            losses.plot(step, value, color=color, linewidth=0.7, alpha=0.25)
        losses.plot(
            step,
            smooth,
            color=color,
            linewidth=2 if total else 1.4,
            label="total" if total else name,
        )
    losses.set(title="Loss", xlabel="step", ylim=(0, None) if _all_positive(losses) else None)
    if losses.lines:
        losses.legend(fontsize=8.5, ncols=2 if len(terms) > 4 else 1)

    below = "step"
    step, value = _column(history, "val_accuracy")
    accuracy.plot(step, value, color=BLUE, linewidth=1.8, marker="o", markersize=3)
    if len(value):
        best = int(np.argmax(value))
        accuracy.plot(step[best], value[best], "o", color=VERMILION, markersize=7, zorder=3)
        # Not in a legend, which lies over the line wherever the curve happens to pass.
        below = f"step\nbest, the large dot: {value[best]:.1%} at step {step[best]:,.0f}"
    accuracy.set(title="Accuracy, source validation", xlabel=below)
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))

    step, value = _column(history, "lr")
    rate.plot(step, value, color=MUTED, linewidth=1.8)
    rate.set(title="Learning rate", xlabel="step", ylim=(0, None))
    rate.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for axes in (losses, accuracy, rate):
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if not any(np.size(line.get_xdata()) for line in axes.lines):
            _say(axes, "not recorded")
    return figure


@styled
def score_histogram(
    source_val: NDArray[np.floating],
    known: NDArray[np.floating],
    unknown: NDArray[np.floating],
    threshold: float,
    score: str,
    *,
    unlabelled: NDArray[np.floating] | None = None,
) -> Figure:
    """Distribution of the score on source validation, known, unknown and unlabelled test images.

    Each is a float array of any length, 0 included; `threshold` is drawn in unless it is infinite.
    """
    figure = Figure(figsize=(8.4, 4), layout="constrained")
    axes = figure.subplots()
    groups = [
        (known, BLUE, "test, known classes"),
        (unknown, ORANGE, "test, unknown classes"),
        (np.zeros(0) if unlabelled is None else unlabelled, BLUE, "without labels"),
        (source_val, INK, "source validation"),
    ]
    everything = np.concatenate([np.asarray(values, float) for values, _, _ in groups])
    entry = SCORES.get(score)
    score_label = entry.label or entry.summary if entry else score
    axes.set(xlabel=f"{score_label}  →  more known", ylabel="share of images")
    title = "Scores of known and unknown images"
    if unlabelled is not None:
        title = "Scores of images without labels"
    elif not len(unknown):
        title = "Scores of images of known classes"
    axes.set_title(title)
    if not everything.size:
        _say(axes, "no images")
        return figure
    low, high = np.quantile(everything, [0.001, 0.999])
    if np.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
    edges = _bins(axes, low, high, probability=entry is not None and entry.is_probability)
    top = 0.0
    for values, color, label in groups:
        if not len(values):
            continue
        share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        top = max(top, float(share.max()))
        text = f"{label}, {len(values):,}"
        if color == INK:
            axes.stairs(share, edges, color=color, linewidth=1.5, linestyle=(0, (4, 2)), label=text)
        else:
            axes.stairs(share, edges, color=color, fill=True, alpha=0.45)
            axes.stairs(share, edges, color=color, linewidth=1.5, label=text)
    axes.set(ylim=(0, 1.15 * top), xlim=(edges[0], edges[-1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    if np.isfinite(threshold):
        # A probability of exactly 0 or 1 lies at infinity on the log-odds axis.
        position = float(np.clip(threshold, edges[0], edges[-1]))
        axes.axvline(position, color=VERMILION, linewidth=2)
        roomy = np.searchsorted(edges, position) < 0.7 * len(edges)
        axes.annotate(
            "accepted →" if roomy else "← rejected",
            (position, 1),
            xycoords=("data", "axes fraction"),
            xytext=(6 if roomy else -6, -3),
            textcoords="offset points",
            ha="left" if roomy else "right",
            va="top",
            color=VERMILION,
            fontweight="bold",
        )
        axes.set_title(f"{title}; threshold {threshold:.4g}")
    else:
        axes.set_title(f"{title}; no threshold, all accepted")
    return figure


def _bins(axes: Axes, low: float, high: float, *, probability: bool) -> NDArray[np.float64]:
    """Bin edges over [low, high]; a probability gets a log-odds axis, where 0.99 is not 0.9999."""
    if not probability:
        pad = 0.02 * (high - low) or 0.5
        return np.linspace(low - pad, high + pad, 46)
    # Beyond these the odds are rounding noise.
    start, stop = logit(np.clip([low, high], 1e-3, 1 - 1e-6))
    pad = 0.02 * (stop - start) or 0.5
    edges = np.asarray(expit(np.linspace(start - pad, stop + pad, 46)), np.float64)
    ticks = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, *(1 - 10.0**-n for n in range(2, 7))]
    axes.set_xscale("logit")
    axes.xaxis.set_major_locator(FixedLocator([t for t in ticks if edges[0] <= t <= edges[-1]]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.7g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    return edges


# Colours times shapes that a legend tells apart.
_LEGEND_CLASSES = 24
_SHAPES = ("o", "^", "s", "D")


@styled
def feature_maps(maps: FeatureMaps, names: Sequence[str]) -> Figure:
    """Points of images, a panel for whose features they are, by class; unknown ones as crosses.

    Of more than 24 classes only known and unknown are told apart.
    """
    panels = len(maps.points)
    figure = Figure(figsize=(5.2 * panels, 5.8), layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False)[0]
    known = maps.labels >= 0
    groups = [("known", known)]
    if len(names) <= _LEGEND_CLASSES:
        groups = [(shorten(name, 18), maps.labels == c) for c, name in enumerate(names)]
    colors = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
    for axes, (title, points) in zip(grid, maps.points.items(), strict=True):
        axes.scatter(*points[~known].T, c=MUTED, marker="x", s=14, linewidths=0.8, label="unknown")
        for number, (name, rows) in enumerate(groups):
            axes.scatter(
                *points[rows].T,
                c=colors[number % len(colors)],
                marker=_SHAPES[number // len(colors)],
                s=16,
                linewidths=0,
                alpha=0.85,
                label=name,
            )
        axes.set(title=f"Features of the {title}", xticks=[], yticks=[])
        axes.grid(visible=False)
    figure.legend(
        *grid[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3 * panels,
        fontsize=8.5,
    )
    return figure


@styled
def confusion_matrix(counts: NDArray[np.integer], names: Sequence[str]) -> Figure:
    """Counts int [K + 1, K + 1], last row and column = unknown, coloured by share of the row."""
    size = len(counts)
    labels = [shorten(name, 18) for name in names] + ["unknown"]
    side = float(np.clip(0.52 * size, 3.2, 11))
    figure = Figure(figsize=(side + 2.6, side + 1.6), layout="constrained")
    axes = figure.subplots()
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    # Separates what was learnt from what was not.
    for line in (axes.axhline, axes.axvline):
        line(size - 1.5, color=VERMILION, linewidth=1.5)
    cell_points = 72 * side / size
    font = float(np.clip(0.6 * cell_points, 3.5, 9.5))
    axes.set_xticks(range(size), labels, rotation=90 if size > 5 else 0, fontsize=font)
    axes.set_yticks(range(size), labels, fontsize=font)
    axes.tick_params(length=0)
    if size <= 24:
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(
                column,
                row,
                f"{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=9 if size <= 14 else 7,
                color="white" if share[row, column] > 0.55 else INK,
            )
    axes.set(title="Answers at the threshold", xlabel="answer", ylabel="truth")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=24, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    bar.set_label("share of the row's images")
    return figure


@styled
def keep_curve(points: Sequence[Mapping[str, float]], keep: float) -> Figure:
    """H-score of the test images over the share of known source-validation images to keep.

    `points` are those of `openset.keep_curve.h_score_by_keep`; marked are the one of `keep`, which
    the run was calibrated to, and the best one, which only the test's labels can tell.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    x = [point["keep"] for point in points]
    for name, label, color in (
        ("known_acceptance", "known images accepted", BLUE),
        ("unknown_rejection", "unknown images rejected", ORANGE),
    ):
        y = [point[name] for point in points]
        axes.plot(x, y, color=color, linewidth=1.2, linestyle=(0, (4, 2)), label=label)
    axes.plot(x, [point["h_score"] for point in points], color=INK, linewidth=2, label="H-score")
    best = max(points, key=lambda point: (point["h_score"], point["keep"]))
    for text, marker, color, marked in (
        ("best", "D", GREEN, best),
        ("deployed", "o", VERMILION, next(p for p in points if p["keep"] == keep)),
    ):
        label = f"{text}: {marked['h_score']:.1%} at {marked['keep']:g}"
        position, height = marked["keep"], marked["h_score"]
        axes.plot(
            position, height, marker, color=color, markersize=8, markeredgecolor="white",
            linestyle="none", label=label,
        )  # fmt: skip
    axes.set(
        title="H-score over the share to keep",
        xlabel="openset.keep: share of source validation to keep",
        ylabel="share of test images",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    return figure


@styled
def risk_coverage_curve(
    curves: Mapping[str, tuple[NDArray[np.floating], NDArray[np.bool_]]], threshold: float
) -> Figure:
    """Error among accepted known images against the share accepted, one curve per name.

    `curves` maps a name to (scores float [n], correct bool [n]) of known images, n may be 0. The
    dot on a curve is the calibrated threshold.
    """
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for (name, (scores, correct)), color in zip(curves.items(), (BLUE, INK, GREEN), strict=False):
        if not len(scores):
            continue
        curve = risk_coverage(scores, correct)
        accepted = int(np.sum(curve.threshold >= threshold))
        x, y = (curve.coverage[accepted - 1], curve.risk[accepted - 1]) if accepted else (0.0, 0.0)
        axes.plot(
            curve.coverage,
            curve.risk,
            color=color,
            linewidth=1.8,
            linestyle="-" if color == BLUE else (0, (4, 2)),
            marker="o",
            markevery=[accepted - 1] if accepted else [],
            markersize=8,
            markeredgecolor="white",
            label=f"{name}: {y:.1%} wrong of the {x:.1%} kept",
        )
    axes.set(
        title="Error among accepted images of known classes",
        xlabel="share accepted (coverage)",
        ylabel="share of those that are wrong (risk)",
        xlim=(0, 1.02),
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if axes.lines:
        axes.set_ylim(0, max(0.02, axes.get_ylim()[1] * 1.25))
        axes.legend(loc="upper left", fontsize=9)
    else:
        _say(axes, "no known images")
    return figure


def _column(
    history: Sequence[Mapping[str, Any]], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pairs = [
        (_number(row.get("step", number)), _number(row.get(name)))
        for number, row in enumerate(history)
    ]
    array = np.array(pairs, np.float64).reshape(-1, 2)
    array = array[np.isfinite(array).all(axis=1)]
    return array[:, 0], array[:, 1]


def _number(value: Any) -> float:
    """`value` as a float; NaN for what a CSV holds in an empty or a text cell."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred mean over a twentieth of the run, which shrinks at the ends."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start, stop = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[stop] - total[start]) / (stop - start)


def _all_positive(axes: Axes) -> bool:
    return all(np.min(line.get_ydata(), initial=0.0) >= 0 for line in axes.lines)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)
