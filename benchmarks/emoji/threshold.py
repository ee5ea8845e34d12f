"""Effect of moving the threshold of an exported file: the plot and the table of a how-to page.

    edgedistill export RUN --onnx
    python -m benchmarks.emoji.threshold RUN            # runs/RUN, or its folder
    python -m benchmarks.emoji.threshold --render       # picture and table anew, from the JSON

Answers the run's source-validation and target images with runs/RUN/student.onnx, as a device
would, keeps the answers in threshold.json, and counts at every threshold which images are accepted.
Writes docs/assets/threshold.png and the part of docs/how-to/move-a-threshold.md between
`<!-- threshold -->` marks.
"""

import argparse
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script
from edgedistill._utils.atomic import write_bytes, write_json
from edgedistill.data.protocols.resolve import OpenSetSplit, resolve_split
from edgedistill.data.store.image_store import Store, open_store
from edgedistill.export.session import ModelOutputs, open_session, run_model
from edgedistill.openset import calibrate, metrics
from edgedistill.recipe import load_recipe
from edgedistill.report.style import BLUE, GREEN, INK, MUTED, VERMILION, png, styled
from edgedistill.runs.lookup import find_run
from edgedistill.runtime.contract import LOWEST, read_model

RECORD = Path(__file__).with_suffix(".json")
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


@dataclass(frozen=True)
class Subject:
    """The measured file: the run it is of, its student and how its threshold was calibrated."""

    run: str
    student: str
    method: str
    precision: str
    score: str
    threshold: float
    target_keep_rate: float
    domain: str


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
def picture(curves: dict[str, NDArray[np.float64]], subject: Subject) -> Figure:
    """The rates over the threshold, with the calibrated one marked."""
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axes = figure.subplots()
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        (
            "source_keep_rate",
            "known keep rate, source validation",
            {"color": MUTED, "linestyle": ":"},
        ),
        (
            "known_keep_rate",
            f"known keep rate, {subject.domain}",
            {"color": GREEN, "linestyle": "--"},
        ),
        (
            "unknown_reject_rate",
            f"unknown reject rate, {subject.domain}",
            {"color": VERMILION, "linestyle": "-."},
        ),
        ("h_score", f"H-score, {subject.domain}", {"color": BLUE, "linewidth": 2.5}),
    )
    for key, label, look in lines:
        axes.plot(curves["threshold"], curves[key], label=label, **look)
    if subject.threshold > LOWEST:
        axes.axvline(subject.threshold, color=INK, linewidth=1)
        axes.annotate(
            f" calibrated, {subject.threshold:.3g}",
            (subject.threshold, 1.02),
            xycoords=("data", "axes fraction"),
            color=INK,
            ha="center",
        )
    axes.set(xlabel=f"threshold on {subject.score}", ylabel="share of images", ylim=(0, 1.01))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.margins(x=0)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def part(validation: Scored, target: Scored, subject: Subject) -> str:
    """The written part of the page."""
    known = validation.score[validation.known]
    rows = []
    for share in KEEP_RATES:
        limit = calibrate(known, share)
        shares = rates(target, limit) | {"source": rates(validation, limit)["known_keep_rate"]}
        cells = [
            shares[key] for key in ("source", "known_keep_rate", "unknown_reject_rate", "h_score")
        ]
        mark = " (calibrated)" if np.isclose(share, subject.target_keep_rate) else ""
        shown = ["-" if cell is None else f"{100 * cell:.1f}" for cell in cells]
        rows.append([f"{100 * share:.0f} %{mark}", f"{limit:.4g}", *shown])
    header = ["to keep", f"threshold on {subject.score}", "known keep rate, source validation"]
    header += [
        f"{what}, {subject.domain}"
        for what in ("known keep rate", "unknown reject rate", "H-score")
    ]
    table = [header, ["---"] * len(header), *rows]
    return "\n".join(
        [
            f"{subject.student} trained with {subject.method}, {subject.precision}: "
            f"{int(target.known.sum())} known and {int((~target.known).sum())} unknown images of "
            f"`{subject.domain}`, which it never saw, and {len(known)} of source validation. "
            f"Per cent. Made by `python -m benchmarks.emoji.threshold {subject.run}`.",
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


def measured(run: str, runs: Path) -> dict[str, Any]:
    """The record of an exported run: its file, and answers to source validation and target."""
    folder = find_run(run, runs)
    recipe = load_recipe(folder / "recipe.toml")
    data, info = read_model(folder / "student.onnx")
    dataset = resolve_split(recipe.data)
    store = open_store(dataset.index, info.size)
    subject = Subject(
        run=folder.name,
        student=info.student,
        method=info.method,
        precision=info.precision,
        score=info.score,
        threshold=info.threshold,
        target_keep_rate=info.target_keep_rate,
        domain=dataset.split.target or "held-out images",
    )
    return {
        **asdict(subject),
        "validation": _to_json(_answered(data, store, dataset.split.val, dataset)),
        "target": _to_json(_answered(data, store, dataset.target, dataset)),
    }


def _to_json(images: Scored) -> dict[str, list[float]]:
    return {
        # Nine digits are enough to tell float32 scores apart.
        "score": [float(f"{value:.9g}") for value in images.score],
        "right": images.right.astype(int).tolist(),
        "known": images.known.astype(int).tolist(),
    }


def read(record: dict[str, Any]) -> tuple[Scored, Scored, Subject]:
    """Source validation, target and file of a record of `measured`."""
    validation, target = (
        Scored(
            np.array(record[name]["score"]),
            np.array(record[name]["right"], bool),
            np.array(record[name]["known"], bool),
        )
        for name in ("validation", "target")
    )
    return validation, target, Subject(**{f.name: record[f.name] for f in fields(Subject)})


def document(record: dict[str, Any]) -> str:
    """The written part of the page, of a record of `measured`."""
    return part(*read(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("run", metavar="RUN", nargs="?", help="an exported run: name or folder")
    which.add_argument("--render", action="store_true", help="write the page anew, from the JSON")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie")
    options = parser.parse_args()
    if not options.render:
        write_json(RECORD, measured(options.run, options.runs))
    record = read_record(RECORD, "python -m benchmarks.emoji.threshold RUN")
    validation, target, subject = read(record)
    image = png(picture(curves(validation, target), subject))
    write_bytes(DOCS / "assets" / "threshold.png", image)
    write_between(DOCS / "how-to" / "move-a-threshold.md", MARK, document(record))
    print(document(record))


if __name__ == "__main__":
    run_script(main)
