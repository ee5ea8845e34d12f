"""Write a sweep's results: CSV, tables and pictures."""

from pathlib import Path

from edgedistill._utils.atomic import write_bytes, write_text
from edgedistill.report.style import png
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan
from edgedistill.sweep.plots import heat_map, plot_hybridness, radar, whole_series
from edgedistill.sweep.results import (
    LOWER,
    METRICS,
    Row,
    collect_rows,
    hybridness_curves,
    make_table,
    to_csv,
    to_markdown,
)

_HEAT_MAPS = ("accuracy", "h_score", "oracle_h_score", "auroc")
_RADAR = ("accuracy", "h_score", "auroc")
# Fewer span no area.
_RADAR_TARGETS = 3
_CURVES = {"h_score": "deployed threshold", "oracle_h_score": "oracle threshold"}


def write_results(plan: Plan, folder: SweepFolder) -> list[Row]:
    """`results.csv` and `tables.md`; returns the rows."""
    rows = collect_rows(plan, folder)
    write_text(folder.results, to_csv(rows))
    write_text(folder.tables, to_markdown(plan, rows))
    return rows


def write_pictures(plan: Plan, folder: SweepFolder, rows: list[Row]) -> list[Path]:
    """A heat map per metric, H-score curves where hybridness varies, and with three targets or more
    a radar plot of the series; returns their paths.
    """
    written = []
    spread = "population std / √n" if plan.spread == "sem" else "std over replicates"
    for metric in _HEAT_MAPS:
        table = make_table(plan, rows, metric)
        if table.cells and len(table.series) * len(table.targets) > 1:
            title = METRICS[metric][0].upper() + METRICS[metric][1:]
            path = folder.path / f"heat_{metric}.png"
            write_bytes(path, png(heat_map(table, title, metric in LOWER)))
            written.append(path)
    panels = {title: hybridness_curves(plan, rows, metric) for metric, title in _CURVES.items()}
    panels = {title: curves for title, curves in panels.items() if curves}
    if panels:
        path = folder.path / "h_score_by_hybridness.png"
        write_bytes(path, png(plot_hybridness(panels, spread)))
        written.append(path)
    tables = {METRICS[metric]: make_table(plan, rows, metric) for metric in _RADAR}
    shown = {
        title: table
        for title, table in tables.items()
        if len(table.targets) >= _RADAR_TARGETS and whole_series(table)
    }
    if shown:
        path = folder.path / "radar.png"
        write_bytes(path, png(radar(shown)))
        written.append(path)
    return written
