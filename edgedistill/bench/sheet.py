"""Text of a result: the rounded figures and notes of the table, the Markdown and the page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgedistill.bench.result import (
    Difference,
    Interval,
    Latency,
    Model,
    Quality,
    QualityMetric,
    Ratio,
    Result,
    SettingNoise,
)

# In reading order: the headline first, what reads the target's labels last.
TITLES: dict[QualityMetric, str] = {
    "h_score": "H-score, deployed",
    "accuracy": "accuracy, closed-set",
    "known_acceptance": "known keep rate",
    "unknown_rejection": "unknown reject rate",
    "auroc": "AUROC",
    "fpr95": "FPR95, lower is better",
    "oscr": "OSCR",
    "oracle_h_score": "H-score, oracle grid",
    "best_h_score": "H-score, best threshold",
}
TIME = "time"
LOWER_IS_BETTER = ("fpr95",)
SIGNIFICANT = 0.05
_NONE = "-"
# Columns of figures that fit a page.
_ABREAST = 5


@dataclass(frozen=True)
class Row:
    """One figure of every model; `cells` in the order of the result's models."""

    label: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class RowGroup:
    """A titled group of rows."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Compared:
    """One figure of a model against the baseline's.

    `change` is a difference in points or a ratio of times. `verdict` names a direction only where
    it is significant.
    """

    model: str
    figure: str
    change: str
    interval: str
    p: str
    verdict: str


def sections(result: Result) -> list[RowGroup]:
    """Every figure of every model; without labelled images the answers are missing."""
    models = result["models"]

    def row(label: str, cell: Callable[[Model], str]) -> Row:
        return Row(label, tuple(cell(model) for model in models))

    tables = []
    if any(model["quality"] for model in models):
        rows = [row(title, _share_of(metric)) for metric, title in TITLES.items()]
        rows.append(row("threshold", _threshold))
        tables.append(RowGroup("Answers, % [95 % interval]", tuple(rows)))
    tables.append(
        RowGroup(
            "File",
            (
                row("student", lambda model: model["contract"]["student"]),
                row("method", lambda model: model["contract"]["method"]),
                row("precision", lambda model: model["contract"]["precision"]),
                row("input, px", lambda model: str(model["contract"]["size"])),
                row("size, MB", lambda model: _number(model["bytes"] / 1e6)),
                row("parameters, M", lambda model: _millions(model["parameters"])),
                row("MACs, M", lambda model: _millions(model["macs"])),
                row("cold start, s", lambda model: _number(model["cold_start"]["median_s"])),
                row("peak memory, MB", lambda model: _millions(model["peak_memory_bytes"])),
            ),
        )
    )
    for number, first in enumerate(models[0]["latency"] if models else []):
        tables.append(
            RowGroup(
                f"ms per call, {setting(first['threads'], first['batch'])}",
                tuple(
                    row(label, lambda model, n=number, cell=cell: cell(model["latency"][n]))  # type: ignore[misc]
                    for label, cell in _TIMES.items()
                ),
            )
        )
    return tables


def grid(section: RowGroup, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """A section as a head and rows: few models side by side, many below one another."""
    if len(names) <= _ABREAST:
        return ["", *names], [[row.label, *row.cells] for row in section.rows]
    head = ["", *(row.label for row in section.rows)]
    return head, [
        [name, *(row.cells[number] for row in section.rows)] for number, name in enumerate(names)
    ]


def comparisons(result: Result) -> list[Compared]:
    """Every model against the baseline, figure by figure."""
    rows = []
    for comparison in result["comparisons"]:
        name = comparison["model"]
        differences: Mapping[QualityMetric, Difference] = comparison["quality"] or {}
        rows += [
            _difference(name, metric, differences[metric])
            for metric in TITLES
            if metric in differences and differences[metric]["value"] is not None
        ]
        for latency in comparison["latency"]:
            where = setting(latency["threads"], latency["batch"])
            rows.append(_ratio(name, f"{TIME}, {where}", latency["model"]))
            rows.append(_ratio(name, f"image to decision, {where}", latency["decision"]))
    return rows


def notes(result: Result) -> list[str]:
    """Notes on data, threshold, machine and noise, a sentence each."""
    quality = next((model["quality"] for model in result["models"] if model["quality"]), None)
    return [
        *(_data_notes(quality) if quality else ()),
        *_seen_domain_notes(result),
        *_machine_notes(result),
    ]


def setting(threads: int, batch: int) -> str:
    """`1 thread, batch 8`."""
    return f"{threads} thread{'' if threads == 1 else 's'}, batch {batch}"


def share(interval: Interval) -> str:
    """`67.7 [63.4, 71.9]` per cent, or `-`."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None or low is None or high is None:
        return _NONE
    return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def is_significant(difference: Difference) -> bool:
    """Whether a difference's p is below 5 %."""
    return difference["p"] is not None and difference["p"] < SIGNIFICANT


def _data_notes(quality: Quality) -> list[str]:
    domain = f", target domain {quality['target']}" if quality["target"] else ""
    left_out = f"; {quality['unreadable']} unreadable left out" if quality["unreadable"] else ""
    names = quality["unknown_classes"]
    listed = ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if len(names) > 8 else "")
    return [
        f"Data: {quality['data']}{domain}: {quality['known']} images of known classes, "
        f"{quality['unknown']} of unknown ones{left_out}.",
        *([f"Counted as unknown: {listed}."] if names else []),
        "Answers are those of the files at the threshold calibrated into them; oracle grid and "
        "best threshold read the labels of these images.",
        "Intervals: exact binomial for accuracy, known keep rate and unknown reject rate, else "
        f"bootstrap over these images, {quality['resamples']:,} resamples, known and unknown drawn "
        "apart. They say how much the draw of the images matters, not what another training seed "
        "would give. Those of oracle grid and best threshold are of the maximum that every "
        "resample has for itself.",
        "p: McNemar's exact test for shares of images, else paired bootstrap; not corrected for "
        f"the number of comparisons. Better and worse: p below {SIGNIFICANT:g}.",
    ]


def _seen_domain_notes(result: Result) -> list[str]:
    """Notes on files whose run held out another domain: they may have trained on this one."""
    lines = []
    for model in result["models"]:
        quality = model["quality"]
        own = quality["own_target"] if quality else None
        if quality and own and quality["target"] and own != quality["target"]:
            lines.append(
                f"{model['name']} was trained with {own} held out, so {quality['target']} need not "
                "be unseen by it: its figures are not to be compared with those of files that "
                "held it out."
            )
    return lines


def _machine_notes(result: Result) -> list[str]:
    machine, method, noise = result["machine"], result["method"], result["noise"]
    load = machine["load_before"]
    facts = [
        f"{machine['cpu']}, {machine['cores']} cores",
        f"flags {' '.join(machine['flags'])}" if machine["flags"] else "",
        f"governor {machine['governor']}" if machine["governor"] else "",
        "" if load is None else f"load {load:.2f} before",
        f"onnxruntime {machine['onnxruntime']}",
        machine["date"][:10],
    ]
    limit = f"{100 * noise['limit']:.0f} %"
    noise_note = (
        f"Above the limit of {limit}: this machine is too noisy now to rank the files closely; "
        "stop what else runs and measure again."
        if noise["verdict"] == "noisy"
        else f"The limit is {limit}."
    )
    return [
        f"Machine: {'; '.join(fact for fact in facts if fact)}.",
        f"Times: medians of {method['rounds']} interleaved rounds; ± half the range of the rounds' "
        f"medians. Image: {method['image']}.",
        f"Noise: two loadings of {result['baseline']} differ by up to "
        f"{'; '.join(map(_setting_noise, noise['settings']))}. Files are ranked by a time only "
        f"where they differ by more than its noise. {noise_note}",
    ]


def _setting_noise(noise: SettingNoise) -> str:
    model, decision = (f"{100 * noise[key]['noise']:.1f} %" for key in ("model", "decision"))
    where = setting(noise["threads"], noise["batch"])
    return f"{model} (model) and {decision} (image to decision) with {where}"


def _share_of(metric: QualityMetric) -> Callable[[Model], str]:
    return lambda model: share(model["quality"][metric]) if model["quality"] else _NONE


def _threshold(model: Model) -> str:
    contract, quality = model["contract"], model["quality"]
    return f"{contract['score']} >= {quality['threshold']:.4g}" if quality else _NONE


def _median(latency: Latency) -> str:
    timing = latency["model"]
    half = (max(timing["rounds_ms"]) - min(timing["rounds_ms"])) / 2
    return f"{_number(timing['p50_ms'])} ± {half:.2g}"


_TIMES: dict[str, Callable[[Latency], str]] = {
    "model, p50": _median,
    "model, p95": lambda latency: _number(latency["model"]["p95_ms"]),
    "model, p99": lambda latency: _number(latency["model"]["p99_ms"]),
    "image to decision, p50": lambda latency: _number(latency["decision"]["p50_ms"]),
    "image to decision, p95": lambda latency: _number(latency["decision"]["p95_ms"]),
    "image to decision, p99": lambda latency: _number(latency["decision"]["p99_ms"]),
    "images per second": lambda latency: _number(latency["model"]["images_per_second"]),
}


def _difference(model: str, metric: QualityMetric, difference: Difference) -> Compared:
    value, low, high, p = (
        difference["value"],
        difference["low"],
        difference["high"],
        difference["p"],
    )
    assert value is not None and low is not None and high is not None and p is not None
    better = "better" if (value < 0) == (metric in LOWER_IS_BETTER) else "worse"
    return Compared(
        model=model,
        figure=TITLES[metric],
        change=f"{100 * value:+.1f} points",
        interval=f"[{100 * low:+.1f}, {100 * high:+.1f}]",
        p=f"{p:.3f}" if p >= 0.001 else "< 0.001",
        verdict=better if is_significant(difference) else "not significant",
    )


def _ratio(model: str, figure: str, ratio: Ratio) -> Compared:
    return Compared(
        model=model,
        figure=figure,
        change=f"x {ratio['value']:.2f}",
        interval=f"[{ratio['low']:.2f}, {ratio['high']:.2f}]",
        p="",
        verdict=ratio["verdict"],
    )


def _number(value: float | None) -> str:
    """Three significant digits, whole numbers from 100 on."""
    if value is None:
        return _NONE
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def _millions(value: float | None) -> str:
    return _NONE if value is None else _number(value / 1e6)
