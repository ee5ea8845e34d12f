"""Effect of moving the threshold of an exported file: the plot and the table of a how-to page.

    edgedistill export RUN --onnx
    python -m benchmarks.emoji.threshold RUN            # runs/RUN, or its folder

Answers the run's source-validation and target images with runs/RUN/student.onnx, as a device
would, and counts at every threshold which images are accepted. Writes
docs/assets/threshold.png and the part of docs/how-to/move-a-threshold.md between
`<!-- threshold -->` marks.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from benchmarks.marked import write_between
from benchmarks.script import run_script
from edgedistill._utils.atomic import write_bytes
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.export.session import ModelOutputs, open_session, run_model
from edgedistill.openset import calibrate, metrics
from edgedistill.recipe import load_recipe
from edgedistill.report.style import BLUE, GREEN, INK, MUTED, VERMILION, png, styled
from edgedistill.runs.lookup import find_run
from edgedistill.runtime.contract import LOWEST, ModelInfo, read_model

DOCS = Path(__file__).parents[2] / "docs"
MARK = "<!-- threshold -->"
# Shares of known source-validation images that a threshold may be set to keep.
KEEP_RATES = (0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
_POINTS = 300


@dataclass(frozen=True)
class Scored:
    """Answers about labelled images: score float [N], and bool [N] each.

    `right` is whether the best class is the true one, `known` whether there is one.
    """

    score: NDArray[np.floating]
    right: NDArray[np.bool_]
    known: NDArray[np.bool_]


def scored(outputs: ModelOutputs, labels: NDArray[np.int64]) -> Scored:
    """`labels` int64 [N], -1 for unknown."""
    return Scored(outputs.score, outputs.probabilities.argmax(axis=1) == labels, labels >= 0)


def rates(images: Scored, threshold: float) -> dict[str, float | None]:
    """Shares of known images kept, of unknown ones rejected, and their H-score."""
    score, known = images.score, images.known
    return {
        "known_keep_rate": metrics.known_keep_rate(score, known, threshold),
        "unknown_reject_rate": metrics.unknown_reject_rate(score, known, threshold),
        "h_score": metrics.deployed_h_score(score, images.right, known, threshold),
    }


def curves(validation: Scored, target: Scored) -> dict[str, NDArray[np.float64]]:
    """`threshold` between the ends of all scores, and the rates at each, float64 [_POINTS].

    "source_keep_rate" is of source validation, the rest of the target; NaN where no image is of
    that kind.
    """
    both = np.concatenate([validation.score, target.score])
    thresholds = np.linspace(both.min(), np.nextafter(both.max(), np.inf), _POINTS)
    rows = [
        rates(target, t) | {"source_keep_rate": rates(validation, t)["known_keep_rate"]}
        for t in thresholds
    ]
    columns = {key: np.array([row[key] for row in rows], np.float64) for key in rows[0]}
    return {"threshold": thresholds, **columns}


@styled
def picture(curves: dict[str, NDArray[np.float64]], info: ModelInfo, target: str) -> Figure:
    """The rates over the threshold, with the calibrated one marked."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axes = figure.subplots()
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (
            "source_keep_rate",
            "known keep rate, source validation",
            {"color": MUTED, "linestyle": ":"},
        ),
        ("known_keep_rate", f"known keep rate, {target}", {"color": GREEN, "linestyle": "--"}),
        (
            "unknown_reject_rate",
            f"unknown reject rate, {target}",
            {"color": VERMILION, "linestyle": "-."},
        ),
        ("h_score", f"H-score, {target}", {"color": BLUE, "linewidth": 2.5}),
    )
    for key, label, look in lines:
        axes.plot(curves["threshold"], curves[key], label=label, **look)
    if info.threshold > LOWEST:
        axes.axvline(info.threshold, color=INK, linewidth=1)
        axes.annotate(
            f" calibrated, {info.threshold:.3g}",
            (info.threshold, 1.02),
            xycoords=("data", "axes fraction"),
            color=INK,
            ha="center",
        )
    axes.set(xlabel=f"threshold on {info.score}", ylabel="share of images", ylim=(0, 1.01))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.margins(x=0)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def part(validation: Scored, target: Scored, info: ModelInfo, domain: str, run: str) -> str:
    """The written part of the page."""
    known = validation.score[validation.known]
    rows = []
    for share in KEEP_RATES:
        limit = calibrate(known, share)
        shares = rates(target, limit) | {"source": rates(validation, limit)["known_keep_rate"]}
        cells = [
            shares[key] for key in ("source", "known_keep_rate", "unknown_reject_rate", "h_score")
        ]
        mark = " (calibrated)" if np.isclose(share, info.target_keep_rate) else ""
        shown = ["-" if cell is None else f"{100 * cell:.1f}" for cell in cells]
        rows.append([f"{100 * share:.0f} %{mark}", f"{limit:.4g}", *shown])
    header = ["to keep", f"threshold on {info.score}", "known keep rate, source validation"]
    header += [
        f"{what}, {domain}" for what in ("known keep rate", "unknown reject rate", "H-score")
    ]
    table = [header, ["---"] * len(header), *rows]
    return "\n".join(
        [
            f"{info.student} trained with {info.method}, {info.precision}: "
            f"{int(target.known.sum())} known and {int((~target.known).sum())} unknown images of "
            f"`{domain}`, which it never saw, and {len(known)} of source validation. Per cent. "
            f"Made by `python -m benchmarks.emoji.threshold {run}`.",
            "",
            "![Shares of known images kept and unknown images rejected, and the H-score, over the "
            "threshold](../assets/threshold.png)",
            "",
            *(f"| {' | '.join(row)} |" for row in table),
        ]
    )


def _answered(model: bytes, store: Store, rows: NDArray[np.int64], dataset: OpenSetSplit) -> Scored:
    """Answers about rows of a dataset."""
    labelled = dataset.label(store.images(rows))
    return scored(run_model(open_session(model), labelled.images), labelled.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="an exported run: its name, or its folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie")
    given = parser.parse_args()
    folder = find_run(given.run, given.runs)
    recipe = load_recipe(folder / "recipe.toml")
    data, info = read_model(folder / "student.onnx")
    dataset = resolve_split(recipe.data)
    store = open_store(dataset.index, info.size)
    validation = _answered(data, store, dataset.split.val, dataset)
    target = _answered(data, store, dataset.target, dataset)
    domain = dataset.split.target or "held-out images"
    image = png(picture(curves(validation, target), info, domain))
    write_bytes(DOCS / "assets" / "threshold.png", image)
    written = part(validation, target, info, domain, folder.name)
    write_between(DOCS / "how-to" / "move-a-threshold.md", MARK, written)
    print(written)


if __name__ == "__main__":
    run_script(main)
