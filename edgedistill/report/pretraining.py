"""The report of a pretraining: its curves and figures on one self-contained page."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from edgedistill._utils import atomic
from edgedistill.report.html import flatten, format_duration, format_percent
from edgedistill.report.page import data_uri, environment
from edgedistill.report.style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION, png, styled

_NO_LOSSES = ("step", "lr")


def write_pretraining_report(
    path: Path, figures: Mapping[str, Any], history: Sequence[Mapping[str, float]], recipe: str
) -> None:
    """Write the page, and its plot as curves.png beside it, each atomically.

    Args:
        path: report.html in the working folder.
        figures: contents of figures.json.
        history: a row for each validation.
        recipe: the resolved recipe as TOML.

    Raises OutputError where they cannot be written.
    """
    curves = png(pretraining_curves(history))
    atomic.write_bytes(path.with_name("curves.png"), curves)
    source = files("edgedistill.report").joinpath("pretraining.html.j2").read_text("utf-8")
    text = (
        environment()
        .from_string(source)
        .render(
            name=path.parent.stem,
            figures=figures,
            cards=_cards(figures),
            curves=data_uri(curves),
            duration=format_duration(figures["training_seconds"]),
            recipe=recipe,
            rows=flatten(figures),
        )
    )
    atomic.write_text(path, text)


def _cards(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and remark of the key figures."""
    cards = [("Cosine to the teacher", f"{figures['cosine']:.3f}", "mean over held-out images")]
    shown = figures["zero_shot"]
    if shown is None:
        return cards
    for key, name in (("accuracy", "Zero-shot accuracy"), ("auroc", "Zero-shot AUROC")):
        if shown[key] is not None:
            remark = f"of {shown['data']}; the teacher: {format_percent(shown['teacher'][key])}"
            cards.append((name, format_percent(shown[key]), remark))
    return cards


@styled
def pretraining_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss terms, cosine to the teacher and, where measured, zero-shot figures over steps."""
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [n for n in names if n not in _NO_LOSSES and not n.startswith("val_")]
    shares: list[str] = [n for n in ("val_accuracy", "val_auroc") if n in names]
    figure = Figure(figsize=(11 if shares else 8, 3.4), layout="constrained")
    axes = figure.subplots(1, 3 if shares else 2)
    panels: list[tuple[str, list[str]]] = [
        ("Loss", losses),
        ("Cosine to the teacher, held out", ["val_cosine"]),
    ]
    panels += [("Zero-shot", shares)] if shares else []
    for panel, (title, curves) in zip(axes, panels, strict=True):
        colors = [INK if "loss" in curves else BLUE, ORANGE, GREEN, VERMILION, PURPLE]
        for color, name in zip(colors, curves, strict=False):
            rows = [row for row in history if name in row]
            steps, values = [row["step"] for row in rows], [row[name] for row in rows]
            label = "total" if name == "loss" else name.removeprefix("val_").replace("_", " ")
            panel.plot(steps, values, color=color, marker="o", markersize=3, label=label)
        panel.set(title=title, xlabel="step")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if len(curves) > 1:
            panel.legend(fontsize=8.5)
    if shares:
        axes[-1].yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    return figure
