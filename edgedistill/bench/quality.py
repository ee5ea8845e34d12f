"""Metrics of exported files on labelled images, with intervals and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedistill.bench.bootstrap import (
    RESAMPLES,
    Paired,
    Resampled,
    Scored,
    difference,
    exact_tests,
    interval,
    resample,
)
from edgedistill.bench.data import LabelledFiles, known_positions
from edgedistill.bench.result import (
    QUALITY_METRICS,
    Difference,
    Interval,
    Quality,
    QualityMetric,
)
from edgedistill.callbacks import CallbackList
from edgedistill.errors import BenchError
from edgedistill.export.measure import measure_answers
from edgedistill.export.session import ModelOutputs
from edgedistill.runtime import Classifier
from edgedistill.runtime.contract import ModelInfo
from edgedistill.runtime.preprocess import ImageProblem, read_rgb

BATCH = 32


@dataclass(frozen=True)
class Answered:
    """Answers of several models to the same images.

    Attributes:
        answers: model name -> answers to the N readable images; `label` is its arg-max class,
            a position in its own classes.
        labels: model name -> int64 [N], the truth in the same positions, -1 for unknown.
        thresholds: model name -> the calibrated threshold that its answers were given at.
        own_targets: model name -> the domain that its run held out, None where it does not say.
        unreadable: one line per image that was left out for all models.
    """

    answers: Mapping[str, ModelOutputs]
    labels: Mapping[str, NDArray[np.int64]]
    thresholds: Mapping[str, float]
    own_targets: Mapping[str, str | None]
    unreadable: tuple[str, ...]


def answer(
    models: Mapping[str, Path],
    images: LabelledFiles,
    providers: Sequence[str],
    callbacks: CallbackList,
) -> Answered:
    """Predictions of every model for every image; each image is decoded once per input size.

    Args:
        models: name -> exported file, all with the same set of classes.
        providers: onnxruntime execution providers.

    Raises:
        ModelFileError: a file is no model.
        BenchError: no image can be read.
    """
    opened = {name: Classifier(path, providers=providers) for name, path in models.items()}
    sizes = sorted({classifier.info.size for classifier in opened.values()})
    rows_by_model: dict[str, list[tuple[float, NDArray[np.float32]]]] = {
        name: [] for name in opened
    }
    readable: list[int] = []
    problems: list[str] = []
    with callbacks.progress("answering", "images") as update:
        for start in range(0, len(images), BATCH):
            rows = range(start, min(start + BATCH, len(images)))
            pixels: dict[int, list[NDArray[np.uint8]]] = {size: [] for size in sizes}
            for number in rows:
                try:
                    decoded = [read_rgb(images.files[number], size) for size in sizes]
                except ImageProblem as problem:
                    problems.append(f"{images.files[number]}: {problem}")
                    continue
                readable.append(number)
                for size, picture in zip(sizes, decoded, strict=True):
                    pixels[size].append(picture)
            for name, classifier in opened.items():
                for prediction in classifier.predict(
                    pixels[classifier.info.size], batch_size=BATCH
                ):
                    row = np.array(list(prediction.probabilities.values()), np.float32)
                    rows_by_model[name].append((prediction.score, row))
            update(rows.stop, len(images))
    if not readable:
        first = f"; the first: {problems[0]}" if problems else ""
        raise BenchError(f"--data: {images.source}: no image can be read{first}")
    shown = [images.classes[number] for number in readable]
    answers = {name: _arrays(prediction) for name, prediction in rows_by_model.items()}
    return Answered(
        answers=answers,
        labels={name: known_positions(shown, opened[name].classes) for name in opened},
        thresholds={name: classifier.threshold for name, classifier in opened.items()},
        own_targets={name: _own_target(classifier.info) for name, classifier in opened.items()},
        unreadable=tuple(problems),
    )


def evaluate_answers(
    answered: Answered, images: LabelledFiles, baseline: str, resamples: int = RESAMPLES
) -> tuple[dict[str, Quality], dict[str, dict[QualityMetric, Difference]]]:
    """Every metric of every model, and its differences from the baseline.

    Returns:
        Model name -> quality, and for every model but the baseline name -> metric -> difference.
    """
    names = list(answered.answers)
    scored = {name: _scored(answered, name) for name in names}
    draws = dict(zip(names, resample(list(scored.values()), resamples), strict=True))
    values = {
        name: measure_answers(
            answered.answers[name], answered.labels[name], answered.thresholds[name]
        )
        for name in names
    }
    quality = {
        name: _quality(name, values[name], draws[name], answered, images, resamples)
        for name in names
    }
    return quality, {
        name: _differences(
            values[name], values[baseline], draws[name], draws[baseline],
            exact_tests(scored[name], scored[baseline]),
        )
        for name in names
        if name != baseline
    }  # fmt: skip


def _own_target(info: ModelInfo) -> str | None:
    target = info.metrics.get("target")
    domain = target.get("domain") if isinstance(target, dict) else None
    return domain if isinstance(domain, str) else None


def _arrays(rows: Sequence[tuple[float, NDArray[np.float32]]]) -> ModelOutputs:
    probabilities = np.stack([row for _, row in rows]).astype(np.float64)
    return ModelOutputs(
        label=probabilities.argmax(axis=1).astype(np.int64),
        score=np.array([score for score, _ in rows], np.float64),
        probabilities=probabilities,
    )


def _scored(answered: Answered, name: str) -> Scored:
    answers, labels = answered.answers[name], answered.labels[name]
    return Scored(
        known=labels >= 0,
        correct=answers.label == labels,
        score=np.asarray(answers.score, np.float64),
        lowest=np.asarray(answers.probabilities.min(axis=1), np.float64),
        highest=np.asarray(answers.probabilities.max(axis=1), np.float64),
        threshold=answered.thresholds[name],
    )


def _quality(
    name: str,
    values: Mapping[str, float | None],
    draws: Resampled,
    answered: Answered,
    images: LabelledFiles,
    resamples: int,
) -> Quality:
    labels = answered.labels[name]
    known, unknown = int((labels >= 0).sum()), int((labels < 0).sum())
    shares = {"accuracy": known, "known_acceptance": known, "unknown_rejection": unknown}

    def metric_interval(metric: QualityMetric) -> Interval:
        return interval(
            values[metric], draws.get(metric), shares.get(metric), smaller=min(known, unknown)
        )

    return Quality(
        data=images.source,
        target=images.target,
        own_target=answered.own_targets[name],
        known=known,
        unknown=unknown,
        unreadable=len(answered.unreadable),
        unknown_classes=list(images.unknown),
        resamples=resamples,
        threshold=answered.thresholds[name],
        accuracy=metric_interval("accuracy"),
        h_score=metric_interval("h_score"),
        oracle_h_score=metric_interval("oracle_h_score"),
        best_h_score=metric_interval("best_h_score"),
        known_acceptance=metric_interval("known_acceptance"),
        unknown_rejection=metric_interval("unknown_rejection"),
        auroc=metric_interval("auroc"),
        fpr95=metric_interval("fpr95"),
        oscr=metric_interval("oscr"),
    )


def _differences(
    model: Mapping[str, float | None],
    baseline: Mapping[str, float | None],
    model_draws: Resampled,
    baseline_draws: Resampled,
    exact: Mapping[QualityMetric, Paired],
) -> dict[QualityMetric, Difference]:
    differences: dict[QualityMetric, Difference] = {}
    for metric in QUALITY_METRICS:
        ours, theirs = model[metric], baseline[metric]
        if ours is None or theirs is None:
            differences[metric] = difference(None, None)
            continue
        samples = model_draws[metric] - baseline_draws[metric]
        differences[metric] = difference(ours - theirs, samples, exact.get(metric))
    return differences
