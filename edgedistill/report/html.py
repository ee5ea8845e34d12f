"""The report page: one HTML file that needs nothing else, not even a network."""

from collections.abc import Mapping
from importlib.resources import files
from math import inf
from pathlib import Path
from typing import Any

from edgedistill._utils import atomic
from edgedistill.openset import metrics
from edgedistill.report import plots
from edgedistill.report.data import ReportData
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
        "Known accepted",
        "Share of known images that get an answer instead of being rejected.",
    ),
    (
        "unknown_rejection",
        "Unknown rejected",
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


def figures(data: ReportData) -> dict[str, bytes]:
    """The pictures of a report: file name -> PNG bytes, in reading order."""
    known = data.target_labels >= 0
    correct = data.target_predictions == data.target_labels
    counts = metrics.confusion(
        data.target_predictions, data.target_labels, data.accepted, len(data.known)
    )
    curves = {
        f"target ({data.domain})": (data.target_scores[known], correct[known]),
        "source validation": (data.source_val_scores, data.source_val_correct),
    }
    drawn = {
        "scores.png": plots.score_histogram(
            data.source_val_scores,
            data.target_scores[known],
            data.target_scores[~known],
            data.threshold,
            data.score,
        ),
        "answers.png": plots.answers(data.samples, data.known),
        "confusion.png": plots.confusion_matrix(counts, data.known),
        "risk_coverage.png": plots.risk_coverage_curve(curves, data.threshold),
        "curves.png": plots.training_curves(data.history),
    }
    return {name: png(figure) for name, figure in drawn.items()}


def render(data: ReportData, pictures: Mapping[str, bytes]) -> str:
    """The page as text, with `pictures` (as `figures` returns them) embedded."""
    source = files("edgedistill.report").joinpath("report.html.j2").read_text("utf-8")
    page = environment()
    page.filters["percent"] = _percent
    target = data.metrics.get("target") or {}
    source_val = data.metrics.get("source_val") or {}
    teacher = data.metrics.get("teacher") or {}
    openset = data.metrics.get("openset") or {}
    return page.from_string(source).render(
        data=data,
        target=target,
        teacher_accuracy=teacher.get("target_accuracy"),
        images_known=int((data.target_labels >= 0).sum()),
        images_unknown=int((data.target_labels < 0).sum()),
        accepts_all=data.threshold == -inf,
        seconds=_duration(data.metrics.get("training_seconds", data.metrics.get("seconds"))),
        rows=[
            (name, target.get(key), source_val.get(key), meaning)
            for key, name, meaning in _MEANING
            if target.get(key) is not None or source_val.get(key) is not None
        ],
        openset=_flatten(openset),
        classes=metrics.per_class(
            data.target_predictions, data.target_labels, data.accepted, data.known
        ),
        environment=_flatten(data.environment),
        pictures={
            name.removesuffix(".png"): data_uri(content) for name, content in pictures.items()
        },
    )


def write_report(folder: Path, data: ReportData) -> list[Path]:
    """Write the PNGs and report.html into `folder`, each atomically.

    scores.png, answers.png, confusion.png, risk_coverage.png, curves.png, report.html. The page
    embeds the plots, so it can be mailed alone.

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


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def _duration(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(_flatten(value, f"{name}."))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(map(str, value))))
        elif value is None:
            rows.append((name, "none"))
        else:
            rows.append((name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows
