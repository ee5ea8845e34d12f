"""Assembly of a benchmark's `Result` from exported files."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np

from edgedistill.bench import cost
from edgedistill.bench.machine import machine, moment
from edgedistill.bench.process import Start, cold_start, peak_memory, start
from edgedistill.bench.result import (
    SCHEMA,
    Comparison,
    Contract,
    Difference,
    Latency,
    LatencyRatio,
    MeasurementSettings,
    Model,
    Noise,
    Quality,
    QualityMetric,
    Result,
    SettingNoise,
)
from edgedistill.bench.timing import (
    FEWEST,
    MOST,
    NOISY,
    ROUND_SECONDS,
    WARM_UP,
    CallTimes,
    Load,
    Work,
    measure,
    ratio,
    self_ratio,
    timing,
)
from edgedistill.callbacks import CallbackList
from edgedistill.runtime import Classifier
from edgedistill.runtime.contract import ModelInfo, read_model
from edgedistill.runtime.preprocess import read_rgb
from edgedistill.runtime.session import Session

STARTS = 5


@dataclass(frozen=True)
class Loaded:
    """A file to measure: a unique name, and its bytes and metadata from `read_model`."""

    name: str
    path: Path
    data: bytes
    info: ModelInfo


@dataclass(frozen=True)
class BenchSettings:
    """Settings of the measurement.

    Attributes:
        threads, batch: every pair of them is a setting.
        rounds: of each setting.
        image: a readable image file.
        described: size and format of the image for the result.
        providers: onnxruntime execution providers; the models run on these alone.
    """

    threads: Sequence[int]
    batch: Sequence[int]
    rounds: int
    image: Path
    described: str
    providers: Sequence[str]

    @property
    def settings(self) -> list[tuple[int, int]]:
        """Pairs (threads, batch), in the order of the result."""
        return list(product(self.threads, self.batch))


@dataclass(frozen=True)
class QualityResult:
    """Quality by model, and differences from the baseline by model other than it."""

    quality: Mapping[str, Quality]
    differences: Mapping[str, dict[QualityMetric, Difference]]


def load(paths: Sequence[Path], providers: Sequence[str]) -> list[Loaded]:
    """Read every file and check that it starts on the providers.

    Raises:
        ModelFileError: as `read_model` and `Session` do.
    """
    loaded = []
    for name, path in zip(short_names(paths), paths, strict=True):
        data, info = read_model(path)
        Session(data, info, str(path), providers, 1)
        loaded.append(Loaded(name, path, data, info))
    return loaded


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; a file given again is numbered."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    names = [_suffix(path, {*absolute} - {path}) for path in absolute]
    numbered: list[str] = []
    for name in names:
        unique, number = name, 1
        # A file may be called like the number of another one.
        while unique in numbered or (number > 1 and unique in names):
            number += 1
            unique = f"{name} ({number})"
        numbered.append(unique)
    return numbered


def collect(
    models: Sequence[Loaded],
    baseline: str,
    plan: BenchSettings,
    answers: QualityResult | None,
    callbacks: CallbackList,
) -> Result:
    """Measure latency, cost, cold start and memory, and assemble the result.

    Args:
        models: from `load`.
        baseline: name of one of them.
        answers: metrics of the answers, None when there are no labelled images.

    Raises:
        BenchError: a process fails.
        ModelFileError: a model fails.
    """
    date, before = datetime.now(UTC), moment()
    costs = [cost.count(model.data, model.info) for model in models]
    starts = _starts(models, plan, callbacks)
    samples = _samples(models, baseline, plan, callbacks)
    names = [model.name for model in models]
    where = machine(before, moment(), date)
    measured = [
        Model(
            name=model.name,
            path=str(model.path),
            sha256=hashlib.sha256(model.data).hexdigest(),
            bytes=len(model.data),
            contract=_contract(model.info),
            parameters=model_cost.parameters,
            macs=model_cost.macs,
            providers=list(plan.providers),
            quality=answers.quality[model.name] if answers else None,
            latency=[
                Latency(
                    threads=threads,
                    batch=batch,
                    model=timing(pair.model[i], batch),
                    decision=timing(pair.decision[i], batch),
                )
                for (threads, batch), pair in zip(plan.settings, samples, strict=True)
            ],
            cold_start=cold_start(starts[i]),
            peak_memory_bytes=peak_memory(starts[i]),
        )
        for i, (model, model_cost) in enumerate(zip(models, costs, strict=True))
    ]
    first = names.index(baseline)
    noise = _noise(plan, samples, first)
    return Result(
        schema=SCHEMA,
        machine=where,
        method=MeasurementSettings(
            rounds=plan.rounds,
            warm_up=WARM_UP,
            round_seconds=ROUND_SECONDS,
            calls_per_round=[FEWEST, MOST],
            starts=STARTS,
            threads=list(plan.threads),
            batch=list(plan.batch),
            image=plan.described,
        ),
        baseline=baseline,
        models=measured,
        comparisons=[
            Comparison(
                model=name,
                baseline=baseline,
                latency=_ratios(samples, noise, i, first),
                quality=answers.differences[name] if answers else None,
            )
            for i, name in enumerate(names)
            if i != first
        ],
        noise=noise,
    )


@dataclass(frozen=True)
class _Pair:
    """Samples of one setting: of every model, and last of the baseline again."""

    model: list[CallTimes]
    decision: list[CallTimes]


def _starts(
    models: Sequence[Loaded], plan: BenchSettings, callbacks: CallbackList
) -> list[list[Start]]:
    """Fresh processes, the models taking turns."""
    starts: list[list[Start]] = [[] for _ in models]
    total = STARTS * len(models)
    with callbacks.progress("cold starts", "processes") as update:
        for number in range(total):
            i = number % len(models)
            update(number, total, models[i].name)
            path = models[i].path
            starts[i].append(start(path, plan.image, plan.threads[0], plan.providers))
        update(total, total)
    return starts


def _samples(
    models: Sequence[Loaded], baseline: str, plan: BenchSettings, callbacks: CallbackList
) -> list[_Pair]:
    second_baseline = next(model for model in models if model.name == baseline)
    subjects = [*models, second_baseline]
    groups = [
        [loading(model, plan, threads, batch) for model in subjects]
        for threads, batch in plan.settings
        for loading in (_load_model, _load_decision)
    ]
    with callbacks.progress("timing", "loadings") as update:
        samples = measure(groups, plan.rounds, tick=update)
    return [_Pair(*samples[i : i + 2]) for i in range(0, len(samples), 2)]


def _load_model(model: Loaded, plan: BenchSettings, threads: int, batch: int) -> Load:
    pixels = np.stack([read_rgb(plan.image, model.info.size)] * batch)

    def load() -> Work:
        session = Session(model.data, model.info, str(model.path), plan.providers, threads)
        return lambda: session.run(pixels, None)

    return load


def _load_decision(model: Loaded, plan: BenchSettings, threads: int, batch: int) -> Load:
    files = [plan.image] * batch

    def load() -> Work:
        classifier = Classifier(model.path, providers=plan.providers, threads=threads)
        return lambda: classifier.predict(files, batch_size=batch)

    return load


def _noise(plan: BenchSettings, samples: Sequence[_Pair], first: int) -> Noise:
    settings = [
        SettingNoise(
            threads=threads,
            batch=batch,
            model=self_ratio(pair.model[-1], pair.model[first]),
            decision=self_ratio(pair.decision[-1], pair.decision[first]),
        )
        for (threads, batch), pair in zip(plan.settings, samples, strict=True)
    ]
    worst = max(entry[key]["noise"] for entry in settings for key in ("model", "decision"))
    return Noise(
        verdict="noisy" if worst > NOISY else "quiet",
        worst=worst,
        limit=NOISY,
        settings=settings,
    )


def _ratios(samples: Sequence[_Pair], noise: Noise, i: int, first: int) -> list[LatencyRatio]:
    return [
        LatencyRatio(
            threads=entry["threads"],
            batch=entry["batch"],
            model=ratio(pair.model[i], pair.model[first], entry["model"]["noise"]),
            decision=ratio(pair.decision[i], pair.decision[first], entry["decision"]["noise"]),
        )
        for entry, pair in zip(noise["settings"], samples, strict=True)
    ]


def _contract(info: ModelInfo) -> Contract:
    return Contract(
        student=info.student,
        method=info.method,
        classes=list(info.classes),
        precision=info.precision,
        size=info.size,
        score=info.score,
        threshold=info.threshold,
    )


def _suffix(path: Path, others: set[Path]) -> str:
    """The shortest end of a path, in whole parts, that no other has."""
    for length in range(1, len(path.parts)):
        end = path.parts[-length:]
        if all(other.parts[-length:] != end for other in others):
            return "/".join(end)
    return str(path)
