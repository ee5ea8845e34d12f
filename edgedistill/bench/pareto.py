"""Pareto plot of exported files: latency against the quality of the answers.

Labels are placed by trying twelve places around each marker. adjustText covers 7 to 27 markers in
four plots with 35 labels, depending on its settings, where this covers 3
(`benchmarks/libraries/label_placing.json`).
"""

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from matplotlib.transforms import Bbox

from edgedistill.bench.result import Interval, Model, Result
from edgedistill.bench.sheet import setting
from edgedistill.data.fonts import drawable
from edgedistill.report.style import BLUE, INK, MUTED, ORANGE, styled

_PRECISION = re.compile(r"[-_.]?(?:fp32|int8)")
_COLORS = {"fp32": BLUE, "int8": ORANGE}
_MARKERS = {"fp32": "o", "int8": "s"}
# Area of a marker: points² per MB, within these limits.
_PER_MB, _SMALLEST, _LARGEST = 22.0, 25.0, 1500.0
FONT = 8.5
# Boxes along a line that labels must not cover.
_STEPS = 40
# Times are drawn on a logarithmic axis where the slowest takes more than so many times the fastest.
_DECADES = 5
# Places of a label, in points from the marker's centre, the best one first.
_PLACES = (
    *((9, 7, "left"), (9, -13, "left"), (-9, 7, "right"), (-9, -13, "right")),
    *((9, 20, "left"), (9, -26, "left"), (-9, 20, "right"), (-9, -26, "right")),
    *((9, 33, "left"), (9, -39, "left"), (-9, 33, "right"), (-9, -39, "right")),
)


@dataclass(frozen=True)
class Point:
    """A file in the plot: milliseconds with their range over rounds, quality, bytes."""

    name: str
    key: tuple[str, str, str]
    precision: str
    ms: float
    ms_range: tuple[float, float]
    quality: float
    quality_interval: tuple[float, float]
    bytes: int
    best: bool


def points(result: Result) -> list[Point]:
    """The files in their order; `best` are those on the Pareto front.

    Empty when some file has no quality. The latency is the model's p50 at the first setting; the
    quality is the deployed H-score, or the accuracy where there are no unknown images.
    """
    metric = quality_metric(result)
    if metric is None:
        return []
    candidates = [_point(model, metric) for model in result["models"]]
    return [
        Point(**{**vars(point), "best": not any(_dominates(other, point) for other in candidates)})
        for point in candidates
    ]


def quality_metric(result: Result) -> str | None:
    """`h_score` or `accuracy`, the first that all files have; None when neither."""
    for metric in ("h_score", "accuracy"):
        if result["models"] and all(_has(model, metric) for model in result["models"]):
            return metric
    return None


@styled
def pareto(result: Result) -> Figure:
    """Latency against H-score; area = file size within limits, fp32 and int8 of a student joined.

    Raises:
        ValueError: `points` is empty.
    """
    drawn = points(result)
    if not drawn:
        raise ValueError("no quality to draw")
    figure = Figure(figsize=(8.4, 5.2), layout="constrained")
    axes = figure.subplots()
    _limits(axes, drawn)
    _front(axes, drawn)
    for pair in _pairs(drawn):
        axes.plot(
            [p.ms for p in pair], [p.quality for p in pair], color=MUTED, linewidth=1.3, zorder=2
        )
    for point in drawn:
        _draw(axes, point)
    first = result["models"][0]["latency"][0]
    name = "H-score, deployed" if quality_metric(result) == "h_score" else "accuracy, closed-set"
    quality = result["models"][0]["quality"]
    assert quality is not None
    domain = f", target {quality['target']}" if quality["target"] else ""
    source = "/".join(PurePath(quality["data"]).parts[-2:])
    axes.set_title(f"{name} on {source}{domain}", fontsize=10)
    noise = result["noise"]["settings"][0]["model"]["noise"]
    noisy = f"; noisy, ± {100 * noise:.0f} %" if noise > result["noise"]["limit"] else ""
    axes.set_xlabel(
        f"ms per call of the model, {setting(first['threads'], first['batch'])}: p50, "
        f"bar = range over rounds{noisy}"
    )
    axes.set_ylabel(f"{name}, bar = 95 % interval")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(axes, drawn)
    # The labels' places are measured in pixels, so the layout must be final.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(axes, drawn)
    return figure


def _point(model: Model, metric: str) -> Point:
    timing = model["latency"][0]["model"]
    interval = _interval(model, metric)
    value, low, high = interval["value"], interval["low"], interval["high"]
    assert value is not None and low is not None and high is not None
    return Point(
        name=model["name"],
        key=(
            _PRECISION.sub("", model["path"]),
            model["contract"]["student"],
            model["contract"]["method"],
        ),
        precision=model["contract"]["precision"],
        ms=timing["p50_ms"],
        ms_range=(
            min(timing["p50_ms"], *timing["rounds_ms"]),
            max(timing["p50_ms"], *timing["rounds_ms"]),
        ),
        quality=value,
        quality_interval=(low, high),
        bytes=model["bytes"],
        best=False,
    )


def _interval(model: Model, metric: str) -> Interval:
    quality = model["quality"]
    assert quality is not None
    return quality["h_score"] if metric == "h_score" else quality["accuracy"]


def _has(model: Model, metric: str) -> bool:
    return model["quality"] is not None and _interval(model, metric)["value"] is not None


def _dominates(a: Point, b: Point) -> bool:
    no_worse = a.ms <= b.ms and a.quality >= b.quality
    return no_worse and (a.ms < b.ms or a.quality > b.quality)


def _pairs(drawn: list[Point]) -> list[list[Point]]:
    """Two files of one student that differ in precision alone, by their names."""
    ordered = sorted(drawn, key=lambda point: point.key)
    groups = [list(group) for _, group in groupby(ordered, key=lambda point: point.key)]
    return [g for g in groups if len(g) == 2 and g[0].precision != g[1].precision]


def _limits(axes: Axes, drawn: list[Point]) -> None:
    low = min(point.ms_range[0] for point in drawn)
    high = max(point.ms_range[1] for point in drawn)
    # Labels stand to the right of their points.
    if high > _DECADES * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.35, high * 1.9)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.4 * high)
    bottom = min(point.quality_interval[0] for point in drawn)
    top = max(point.quality_interval[1] for point in drawn)
    room = max(0.02, 0.12 * (top - bottom))
    axes.set_ylim(max(-0.01, bottom - room), min(1.02, top + room))


def _front(axes: Axes, drawn: list[Point]) -> None:
    best = sorted((point for point in drawn if point.best), key=lambda point: point.ms)
    x = [*(point.ms for point in best), axes.get_xlim()[1]]
    y = [*(point.quality for point in best), best[-1].quality]
    axes.step(x, y, where="post", color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)


def _draw(axes: Axes, point: Point) -> None:
    color = _COLORS.get(point.precision, INK)
    axes.errorbar(
        point.ms,
        point.quality,
        xerr=[[point.ms - point.ms_range[0]], [point.ms_range[1] - point.ms]],
        yerr=[
            [point.quality - point.quality_interval[0]],
            [point.quality_interval[1] - point.quality],
        ],
        color=color,
        linewidth=0.9,
        alpha=0.55,
        zorder=2,
    )
    axes.scatter(
        point.ms,
        point.quality,
        s=area(point.bytes),
        marker=_MARKERS.get(point.precision, "D"),
        facecolor=color if point.best else "white",
        edgecolor=color,
        linewidth=1.6,
        alpha=0.85,
        zorder=3,
    )


def area(size: int) -> float:
    """Area of the marker of a file of `size` bytes, in points²."""
    return float(np.clip(_PER_MB * size / 1e6, _SMALLEST, _LARGEST))


def _legend(axes: Axes, drawn: list[Point]) -> None:
    def marker(shape: str, color: str, filled: bool, label: str) -> Line2D:
        face = color if filled else "white"
        return Line2D(
            [], [], marker=shape, linestyle="", markersize=7, label=label,
            markerfacecolor=face, markeredgecolor=color, markeredgewidth=1.6,
        )  # fmt: skip

    present = dict.fromkeys(point.precision for point in drawn)
    handles = [
        marker(_MARKERS.get(name, "D"), _COLORS.get(name, INK), True, name) for name in present
    ]
    if not all(point.best for point in drawn):
        handles.append(marker("o", MUTED, False, "another is no slower and no worse"))
    handles.append(
        Line2D([], [], color=INK, linewidth=1, linestyle=(0, (4, 3)), label="Pareto front")
    )
    if _pairs(drawn):
        handles.append(Line2D([], [], color=MUTED, linewidth=1.3, label="one student"))
    # Or a small file could not be seen, and a large one would cover the others.
    smallest, largest = _SMALLEST / _PER_MB, _LARGEST / _PER_MB
    clipped = not all(smallest <= point.bytes / 1e6 <= largest for point in drawn)
    limits = f" from {smallest:.1f} to {largest:.0f} MB, equal beyond" if clipped else ""
    figure = axes.figure
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=FONT,
        title=f"area = file size{limits}", title_fontsize=FONT,
    )  # fmt: skip


def label(point: Point) -> str:
    """Name and size of a file: `student-int8, 1.3 MB`."""
    return f"{drawable(point.name.removesuffix('.onnx'))}, {point.bytes / 1e6:.1f} MB"


def place_labels(axes: Axes, drawn: list[Point]) -> None:
    """Draw every label beside its marker, where it covers no other label or marker."""
    scale = axes.figure.dpi / 72
    inside = axes.get_window_extent()
    taken = [marker_box(axes, point) for point in drawn]
    lines = [box for pair in _pairs(drawn) for box in _along(axes, pair)]
    for point in sorted(drawn, key=lambda point: -point.quality):
        text = label(point)
        x, y = axes.transData.transform((point.ms, point.quality))
        width, height = 0.56 * FONT * len(text) * scale, 1.15 * FONT * scale
        reach = np.sqrt(area(point.bytes)) / 2 * scale * 0.5
        choices = []
        for dx, dy, side in _PLACES:
            left = x + np.sign(dx) * reach + dx * scale - (width if side == "right" else 0)
            bottom = y + dy * scale
            box = Bbox.from_bounds(left, bottom, width, height)
            covered = float(sum(box.overlaps(other) for other in taken))
            covered += 0.5 * any(box.overlaps(other) for other in lines)
            outside = not (inside.x0 <= box.x0 and box.x1 <= inside.x1)
            outside |= not (inside.y0 <= box.y0 and box.y1 <= inside.y1)
            choices.append((covered + 2 * outside, box))
        box = min(choices, key=lambda choice: choice[0])[1]
        taken.append(box)
        left, bottom = axes.transData.inverted().transform((box.x0, box.y0))
        axes.text(
            left, bottom, text,
            fontsize=FONT, color=INK if point.best else MUTED, va="bottom", zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def marker_box(axes: Axes, point: Point) -> Bbox:
    """Bounding box of a marker, in pixels."""
    x, y = axes.transData.transform((point.ms, point.quality))
    half = np.sqrt(area(point.bytes)) / 2 * axes.figure.dpi / 72
    return Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half)


def _along(axes: Axes, pair: list[Point]) -> list[Bbox]:
    """Small boxes on the line between two points."""
    first, last = axes.transData.transform([(point.ms, point.quality) for point in pair])
    return [
        Bbox.from_bounds(x - 1, y - 1, 2, 2)
        for x, y in first + np.linspace(0, 1, _STEPS)[:, None] * (last - first)
    ]
