"""Scatter plot of the matrix: deployed H-score over the time of one image, fp32 and int8."""

from collections.abc import Mapping
from statistics import fmean, median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter, PercentFormatter

from benchmarks.emoji.matrix_tables import over_targets, rows_of
from edgedistill.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILION, styled

COLORS = (ORANGE, PURPLE, GREEN, BLUE, VERMILION)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TICKS_MS = (0.25, 0.5, 1, 2, 4, 8, 16)
PRECISIONS = ("fp32", "int8")


def points(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One point per student, method and precision that has both a time and a complete seed.

    A point has "ms" (p50 of one image, the median over the method's timed files) and "h_score"
    (0..1: mean over seeds of the mean over targets, of the files as a device runs them).
    """
    out = []
    for student in record["axes"]["student"]:
        for method in record["axes"]["method"]:
            rows = [r for r in rows_of(record) if (r["student"], r["method"]) == (student, method)]
            for precision in PRECISIONS:
                times = [
                    entry["p50_ms"]
                    for entry in record["latency"]
                    if (entry["student"], entry["method"], entry["precision"])
                    == (student, method, precision)
                ]
                scores = over_targets(rows, "h_score", precision)
                if times and scores:
                    point = {"student": student, "method": method, "precision": precision}
                    out.append(point | {"ms": median(times), "h_score": fmean(scores)})
    return out


@styled
def picture(record: Mapping[str, Any]) -> Figure:
    """Color names the method, marker the student; int8 is filled, fp32 hollow."""
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.subplots()
    methods, students = record["axes"]["method"], record["axes"]["student"]
    color = dict(zip(methods, COLORS, strict=False))
    marker = dict(zip(students, MARKERS, strict=False))
    for point in points(record):
        axes.plot(
            point["ms"],
            point["h_score"],
            marker=marker[point["student"]],
            markersize=8,
            linestyle="none",
            markeredgecolor=color[point["method"]],
            markerfacecolor=color[point["method"]] if point["precision"] == "int8" else "white",
        )
    axes.set_xscale("log")
    axes.set_xticks(TICKS_MS)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="p50 of one image, ms", ylabel="deployed H-score, unseen domain")
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 8}
    legend = [
        *(Line2D([], [], marker="o", color=color[m], label=m, **plain) for m in methods),
        *(
            Line2D([], [], marker=marker[s], color=MUTED, markerfacecolor="white", label=s, **plain)
            for s in students
        ),
        Line2D([], [], marker="o", color=INK, markerfacecolor="white", label="fp32", **plain),
        Line2D([], [], marker="o", color=INK, label="int8", **plain),
    ]
    figure.legend(handles=legend, loc="outside right center")
    return figure
