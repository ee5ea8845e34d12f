"""The report page: one HTML file that needs nothing else, not even a network."""

from collections.abc import Mapping
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgedistill._utils import atomic
from edgedistill._utils.tested_on import tested_on
from edgedistill.openset import metrics
from edgedistill.report import gallery, plots
from edgedistill.report.data import ReportData, SampleImages, worst_confusions
from edgedistill.report.page import data_uri, environment
from edgedistill.report.style import png

# Key in metrics.json, its name for a reader, its meaning.
_MEANING = (
    (
        "h_score",
        "H-score, deployed",
        "Harmonic mean of two shares: known images accepted and answered right, and unknown "
        "images rejected, both at the calibrated threshold. The headline.",
    ),
    (
        "accuracy",
        "Accuracy, closed-set",
        "Share of known images whose most likely class is right when nothing is rejected.",
    ),
    (
        "known_acceptance",
        "Known keep rate",
        "Share of known images that get an answer instead of being rejected.",
    ),
    (
        "unknown_rejection",
        "Unknown reject rate",
        "Share of images of classes nobody labelled that are answered with unknown.",
    ),
    (
        "auroc",
        "AUROC",
        "Probability that a known image scores above an unknown one, over all thresholds; "
        "50 % is chance.",
    ),
    (
        "fpr95",
        "FPR95",
        "Share of unknown images still accepted when 95 % of the known ones are kept. "
        "Lower is better.",
    ),
    (
        "oscr",
        "OSCR",
        "Probability that a known image is answered right and also scores above an unknown one.",
    ),
    (
        "best_h_score",
        "H-score, best threshold",
        "The largest H-score any threshold on this score could reach. It reads the labels of the "
        "target: the ceiling, not a result.",
    ),
    (
        "oracle_h_score",
        "H-score, oracle grid",
        "The largest of ten thresholds on the class probability, as HDG's evaluation does. It "
        "reads the labels of the target: for comparison with published tables only.",
    ),
    ("grid_mean_h_score", "H-score, grid mean", "The mean over the same ten thresholds."),
)


# A matrix of more classes than these is no longer read; a table of the worst pairs is.
MATRIX_CLASSES = 80
# Above these the matrix has no numbers in its cells, and the table stands beside it.
NUMBERED_CLASSES = 23
CLASS_ROWS = 100


def figures(data: ReportData) -> dict[str, bytes]:
    """The pictures of a report: file name -> PNG bytes, in reading order.

    Those that need labels or images that a run was not tested on are left out, and the confusion
    matrix of more than `MATRIX_CLASSES` classes.
    """
    drawn = {"scores.png": _scores(data)}
    curves = {"source validation": (data.source_val_scores, data.source_val_correct)}
    if data.test_kind == "unlabelled":
        drawn["answers.png"] = gallery.unlabelled_answers(data.samples, data.known)
    elif data.test_kind != "none":
        known = data.target_labels >= 0
        correct = data.target_predictions == data.target_labels
        curves = {data.test_name: (data.target_scores[known], correct[known])} | curves
        by_keep = data.metrics.get("h_score_by_keep")
        if by_keep:
            drawn["keep.png"] = plots.keep_curve(
                by_keep["points"], data.metrics["openset"]["acceptance"]
            )
        assert data.samples is None or isinstance(data.samples, SampleImages)
        drawn["answers.png"] = gallery.labelled_answers(data.samples, data.known)
        if len(data.known) <= MATRIX_CLASSES:
            counts = metrics.confusion(
                data.target_predictions, data.target_labels, data.accepted, len(data.known)
            )
            drawn["confusion.png"] = plots.confusion_matrix(counts, data.known)
    if data.feature_maps is not None:
        drawn["features.png"] = plots.feature_maps(data.feature_maps, data.known)
    drawn["risk_coverage.png"] = plots.risk_coverage_curve(curves, data.threshold)
    drawn["curves.png"] = plots.training_curves(data.history)
    return {name: png(figure) for name, figure in drawn.items()}


def _scores(data: ReportData) -> Figure:
    known = data.target_labels >= 0
    nothing = data.target_scores[:0]
    unlabelled = data.test_kind == "unlabelled"
    return plots.score_histogram(
        data.source_val_scores,
        data.target_scores[known],
        nothing if unlabelled else data.target_scores[~known],
        data.threshold,
        data.score,
        unlabelled=data.target_scores if unlabelled else None,
    )


def render(data: ReportData, pictures: Mapping[str, bytes]) -> str:
    """The page as text, with `pictures` (as `figures` returns them) embedded."""
    source = files("edgedistill.report").joinpath("report.html.j2").read_text("utf-8")
    page = environment()
    page.filters["percent"] = format_percent
    target = data.metrics.get("target") or {}
    source_open_set = data.metrics.get("source_open_set") or {}
    source_val = {**(data.metrics.get("source_val") or {}), **source_open_set}
    teacher = data.metrics.get("teacher") or {}
    openset = data.metrics.get("openset") or {}
    tested = data.test_kind not in ("none", "unlabelled")
    return page.from_string(source).render(
        data=data,
        tested_on=tested_on(data.metrics),
        tested=tested,
        target=target,
        unlabelled=data.metrics.get("unlabelled") or {},
        cards=_cards(data),
        by_keep=data.metrics.get("h_score_by_keep"),
        teacher_accuracy=teacher.get("target_accuracy"),
        images=len(data.target_labels),
        check=data.metrics.get("teacher_check") or {},
        reliability=data.metrics.get("teacher_reliability") or {},
        images_known=int((data.target_labels >= 0).sum()),
        images_unknown=int((data.target_labels < 0).sum()),
        accepts_all=data.threshold == -inf,
        seconds=format_duration(data.metrics.get("training_seconds", data.metrics.get("seconds"))),
        rows=[
            (name, target.get(key), source_val.get(key), meaning)
            for key, name, meaning in _MEANING
            if target.get(key) is not None or source_val.get(key) is not None
        ],
        added=_added(data),
        openset=flatten(openset),
        classes=_classes(data),
        source_unknown=source_open_set.get("images_unknown"),
        thirds=[
            (place, part.get("class_thirds") or [])
            for place, part in ((data.test_name, target), ("source validation", source_open_set))
        ],
        class_rows=CLASS_ROWS,
        confusions=_confusions(data) if tested else [],
        environment=flatten(data.environment),
        pictures={
            name.removesuffix(".png"): data_uri(content) for name, content in pictures.items()
        },
    )


def _cards(data: ReportData) -> list[tuple[str, str, str]]:
    """Name, value and remark of the key figures, the most telling first."""
    target, source_val = (data.metrics.get(name) or {} for name in ("target", "source_val"))
    teacher = (data.metrics.get("teacher") or {}).get("target_accuracy")
    if data.test_kind in ("none", "unlabelled"):
        unlabelled = data.metrics.get("unlabelled") or {}
        accepted = ("Accepted", unlabelled.get("acceptance"), "of the images without labels")
        figures = [
            *([accepted] if data.test_kind == "unlabelled" else []),
            ("Accuracy", source_val.get("accuracy"), "source validation, nothing rejected"),
            ("Known keep rate", source_val.get("known_acceptance"), "source validation"),
        ]
    else:
        rejected = target.get("unknown_rejection")
        remark = "closed-set, nothing rejected"
        if teacher is not None:
            remark = f"CLIP teacher, zero-shot: {format_percent(teacher)}"
        figures = [
            ("H-score", target.get("h_score"), "known right and unknown rejected, in balance"),
            ("Accuracy", target.get("accuracy"), remark),
            (
                "Known keep rate",
                target.get("known_acceptance"),
                "of images of known classes get an answer",
            ),
            ("Unknown reject rate", rejected, "of images of unknown classes are held back"),
        ]
    return [
        (name, format_percent(value), text) for name, value, text in figures if value is not None
    ]


def _added(data: ReportData) -> dict[str, Any] | None:
    """The table of this run beside its start weights without training; None without those."""
    start = data.metrics.get("start")
    if start is None:
        return None
    measured = data.metrics.get("target") is not None
    keys = ["accuracy", "known_acceptance"]
    if measured and data.metrics["target"].get("h_score") is not None:
        keys = ["accuracy", "h_score", "auroc", "known_acceptance"]
    names = {key: name for key, name, _ in _MEANING}
    part = "target" if measured else "source_val"
    rows: list[tuple[str, list[Any]]] = [
        (name, [(metrics.get(part) or {}).get(key) for key in keys])
        for name, metrics in (("this run", data.metrics), ("start weights, no training", start))
    ]
    teacher = data.metrics.get("teacher")
    if measured and teacher is not None:
        rows.append(("CLIP teacher, zero-shot", [teacher.get(key) for key in keys]))
    where = data.test_name if measured else "source validation"
    return {"where": where, "columns": [names[key] for key in keys], "rows": rows}


def _classes(data: ReportData) -> list[dict[str, Any]]:
    """Rows of the table of classes, of many classes those that need attention."""
    if data.test_kind == "none":
        return []
    if data.test_kind == "unlabelled":
        answered, accepted = (
            np.bincount(data.target_predictions[mask], minlength=len(data.known)).tolist()
            for mask in (np.ones(len(data.accepted), bool), data.accepted)
        )
        rows = [
            {"class": name, "images": images, "accepted": answers / images if images else None}
            for name, images, answers in zip(data.known, answered, accepted, strict=True)
        ]
        shown = sorted(rows, key=lambda row: -row["images"])[:CLASS_ROWS]
        return shown if len(rows) > CLASS_ROWS else rows
    rows = metrics.per_class(data.target_predictions, data.target_labels, data.accepted, data.known)
    if len(rows) <= CLASS_ROWS:
        return rows
    having_images = [row for row in rows if row["images"]]
    return sorted(having_images, key=lambda row: row["deployed_accuracy"])[:CLASS_ROWS]


def _confusions(data: ReportData) -> list[dict[str, Any]]:
    if len(data.known) <= NUMBERED_CLASSES:
        return []
    return worst_confusions(data.target_labels, data.target_predictions, data.accepted, data.known)


def write_report(folder: Path, data: ReportData) -> list[Path]:
    """Write the PNGs of `figures` and report.html into `folder`, each atomically.

    The page embeds the plots, so it can be mailed alone.

    Returns:
        The paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    pictures = figures(data)
    written = []
    for name, content in pictures.items():
        atomic.write_bytes(folder / name, content)
        written.append(folder / name)
    atomic.write_text(folder / "report.html", render(data, pictures))
    return [*written, folder / "report.html"]


def format_percent(value: float | None) -> str:
    """A share as in "76.4 %"."""
    return "n/a" if value is None else f"{100 * value:.1f} %"


def format_duration(seconds: Any) -> str | None:
    """A time as in "2 min 5 s"; None for what is no number."""
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted names and texts of the leaves of nested dictionaries."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flatten(value, f"{name}."))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        elif value is None:
            rows.append((name, "none"))
        else:
            rows.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows
