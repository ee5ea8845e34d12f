"""Plots of a sweep's results, as matplotlib Figures."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from edgedistill.data.fonts import drawable
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
from edgedistill.sweep.results import Curve, Table, format_mean_std

# Shapes as well as colours, and another dash once the colours are used up.
_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", ":")


@styled
def plot_hybridness(panels: Mapping[str, Mapping[str, Curve]], spread: str) -> Figure:
    """A metric against hybridness with a band, one panel per title, one line per series.

    `panels` maps a title to series -> curve; a band is mean ± spread over replicates.
    """
    figure = Figure(figsize=(4.6 * len(panels) + 0.6, 4.2), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    for axes, (title, curves) in zip(grid, panels.items(), strict=True):
        for number, name in enumerate(names):
            if name not in curves:
                continue
            curve = curves[name]
            x = np.array(curve.hybridness)
            y = np.array([cell.mean for cell in curve.cells])
            band = np.array([cell.spread or 0.0 for cell in curve.cells])
            color = _COLORS[number % len(_COLORS)]
            axes.fill_between(x, y - band, y + band, color=color, alpha=0.2, linewidth=0)
            axes.plot(
                x,
                y,
                color=color,
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=_DASHES[number // len(_COLORS) % len(_DASHES)],
                linewidth=1.8,
                markersize=5.5,
                label=drawable(name),
            )
        axes.set(title=drawable(title), xlabel="hybridness of the source domains")
        values = sorted({x for curve in curves.values() for x in curve.hybridness})
        axes.set_xticks(values, [str(Fraction(x).limit_denominator(100)) for x in values])
        axes.set_xlim(-0.04, 1.04)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0].set_ylabel("H-score, mean over targets")
    handles, labels = grid[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 3), fontsize=9
        )
    if any(c.spread is not None for p in panels.values() for v in p.values() for c in v.cells):
        axes = grid[-1]
        axes.annotate(
            f"band: ± {spread}",
            (1, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=MUTED,
            fontsize=8.5,
        )
    return figure


@styled
def radar(panels: Mapping[str, Table]) -> Figure:
    """Series over targets on a circle, one panel per title, one closed line per series.

    Every table has three targets or more; a series is drawn where all its targets have a cell.
    The centre of a panel lies a tenth of its range below the least value; the title says where.
    """
    figure = Figure(figsize=(4.6 * len(panels), 5.6))
    grid = figure.subplots(1, len(panels), squeeze=False, subplot_kw={"projection": "polar"})[0]
    handles: dict[str, Line2D] = {}
    for axes, (title, table) in zip(grid, panels.items(), strict=True):
        angles = np.linspace(0, 2 * np.pi, len(table.targets), endpoint=False)
        whole = whole_series(table)
        values = {
            name: [table.cells[name, target].mean for target in table.targets] for name in whole
        }
        low, high = (f(f(row) for row in values.values()) for f in (min, max))
        margin = max(0.1 * (high - low), 0.01)
        for number, (name, row) in enumerate(values.items()):
            (line,) = axes.plot(
                [*angles, angles[0]],
                [*row, row[0]],
                color=_COLORS[number % len(_COLORS)],
                marker=_MARKERS[number % len(_MARKERS)],
                linestyle=_DASHES[number // len(_COLORS) % len(_DASHES)],
                linewidth=1.6,
                markersize=4.5,
                label=name,
            )
            handles.setdefault(name, line)
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        axes.set_xticks(angles, table.targets)
        axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelsize=8.5, labelcolor=INK)
        axes.set_title(f"{title}\nfrom {axes.get_ylim()[0]:.0%} in the centre", pad=22, fontsize=11)
    figure.legend(
        [*handles.values()],
        [*handles],
        loc="lower center",
        ncols=min(len(handles), 2 * len(panels)),
        fontsize=9,
    )
    # Constrained layout cuts the titles of polar axes off.
    figure.subplots_adjust(left=0.07, right=0.93, top=0.8, bottom=0.2, wspace=0.4)
    return figure


def whole_series(table: Table) -> list[str]:
    """The series of a table that have a cell for every target."""
    return [n for n in table.series if all((n, t) in table.cells for t in table.targets)]


@styled
def heat_map(table: Table, title: str, lower_is_better: bool) -> Figure:
    """Heat map of series x target: mean ± spread in every cell, darker is better."""
    columns = [*table.targets, "mean"]
    rows = len(table.series)
    values = np.full((rows, len(columns)), np.nan)
    for i, name in enumerate(table.series):
        cells = [table.cells.get((name, t)) for t in table.targets]
        for j, cell in enumerate([*cells, table.means.get(name)]):
            values[i, j] = np.nan if cell is None else cell.mean
    longest = max(len(name) for name in table.series)
    width = 1.15 * len(columns) + 0.075 * longest + 1.6
    figure = Figure(figsize=(max(5.0, width), 0.46 * rows + 1.7), layout="constrained")
    axes = figure.subplots()
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    shade = Normalize(low, high if high > low else low + 1e-9)
    image = axes.imshow(
        values, cmap="Blues_r" if lower_is_better else "Blues", norm=shade, aspect="auto"
    )
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.axvline(len(columns) - 1.5, color="white", linewidth=4)
    axes.set_xticks(range(len(columns)), [drawable(name) for name in columns])
    axes.set_yticks(range(rows), [drawable(name) for name in table.series])
    axes.tick_params(length=0, labelcolor=INK)
    axes.xaxis.tick_top()
    for i, name in enumerate(table.series):
        cells = [table.cells.get((name, t)) for t in table.targets]
        for j, cell in enumerate([*cells, table.means.get(name)]):
            share = 0.0 if cell is None else float(shade(cell.mean))
            dark = share < 0.4 if lower_is_better else share > 0.6
            axes.text(
                j,
                i,
                format_mean_std(cell),
                ha="center",
                va="center",
                fontsize=9,
                color="white" if dark and cell is not None else INK,
            )
    axes.set_title(f"{title}, %", pad=26)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=16, pad=0.02)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    bar.outline.set_visible(False)
    return figure
