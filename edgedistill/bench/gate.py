"""Requirements on exported files for CI: `--require "h_score>=0.6"`."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgedistill._utils.suggestions import choices
from edgedistill.bench.result import QUALITY_METRICS, Latency, Model, Quality, Result
from edgedistill.bench.sheet import setting
from edgedistill.bench.timing import FEWEST_CALLS
from edgedistill.errors import BenchError

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_MEGA = 1e6
_REQUIREMENT = re.compile(r"\s*([A-Za-z][\w.]*)\s*(>=|<=|==|=|>|<)\s*(\S+)\s*")
# Of the interval of a quality figure: `h_score.low>=0.6` asks more than `h_score>=0.6`.
_ENDS = ("low", "high")
_SHARES = tuple(
    [*QUALITY_METRICS, *(f"{metric}.{end}" for metric in QUALITY_METRICS for end in _ENDS)]
)
_FILE_FIGURES: dict[str, Callable[[Model], float | None]] = {
    "size_mb": lambda model: model["bytes"] / _MEGA,
    "parameters": lambda model: model["parameters"],
    "macs": lambda model: model["macs"],
    "cold_start_s": lambda model: model["cold_start"]["median_s"],
    "peak_memory_mb": lambda model: _mega(model["peak_memory_bytes"]),
}
_SETTING_FIGURES: dict[str, Callable[[Latency], float | None]] = {
    "p50_ms": lambda latency: latency["model"]["p50_ms"],
    "p95_ms": lambda latency: latency["model"]["p95_ms"],
    "p99_ms": lambda latency: latency["model"]["p99_ms"],
    "images_per_second": lambda latency: latency["model"]["images_per_second"],
    "decision_p50_ms": lambda latency: latency["decision"]["p50_ms"],
    "decision_p95_ms": lambda latency: latency["decision"]["p95_ms"],
    "decision_p99_ms": lambda latency: latency["decision"]["p99_ms"],
}
# Reason why a figure is None.
_MISSING_REASONS = {
    "parameters": "it has layers that are not counted",
    "macs": "it has layers that are not counted",
    "peak_memory_mb": "this system does not tell",
}
NAMES = (*QUALITY_METRICS, *_SETTING_FIGURES, *_FILE_FIGURES)


@dataclass(frozen=True)
class Requirement:
    """`name` `compare` `value`, the value in the unit that the name ends in, or a share."""

    name: str
    compare: Literal[">=", "<=", ">", "<"]
    value: float

    @property
    def needs_data(self) -> bool:
        """Whether it is about the quality of answers."""
        return self.name in _SHARES

    def __str__(self) -> str:
        return f"{self.name}{self.compare}{self.value:.15g}"


def parse(text: str) -> Requirement:
    """One requirement: a figure's name, a comparison, a number.

    Shares may be written in per cent, `accuracy>=60%`.

    Raises:
        BenchError: another form, an unknown name, or a share outside 0..1.
    """
    match = _REQUIREMENT.fullmatch(text)
    shown = " ".join(text.split())
    if match is None:
        raise BenchError(f'--require: {shown!r}: write a comparison, "h_score>=0.6"')
    name, compare, number = match.groups()
    if name not in (*NAMES, *_SHARES):
        raise BenchError(f"--require: {shown}: no figure {name!r}; {choices(name, NAMES)}")
    if compare not in _COMPARE:
        raise BenchError(f"--require: {shown}: compare with one of {', '.join(_COMPARE)}")
    return Requirement(name, compare, _number(shown, name, number))  # type: ignore[arg-type]


def failures(
    result: Result, requirements: Sequence[Requirement], models: Sequence[str] | None = None
) -> list[str]:
    """A line for every requirement that a model does not reach.

    A figure of a setting must hold for every setting of threads and batch that was measured. What
    could not be measured does not hold.

    Args:
        models: names of the models that must hold, None for all.
    """
    return [
        f"{model['name']}: {line}"
        for model in result["models"]
        if models is None or model["name"] in models
        for requirement in requirements
        for line in _failing(model, requirement)
    ]


def refuse_unanswerable(requirements: Sequence[Requirement], quality: Quality) -> None:
    """Raise BenchError for a figure that the images of `quality` do not determine."""
    for requirement in requirements:
        if requirement.needs_data and _figure(quality, requirement.name) is None:
            raise BenchError(
                f"--require {requirement}: {quality['data']} has {_missing(quality)} that can be "
                "read; add some, or ask for another figure"
            )


class _Value(NamedTuple):
    """A figure, where it was measured, and why it would be None."""

    value: float | None
    where: str
    why: str


def _failing(model: Model, requirement: Requirement) -> list[str]:
    holds = _COMPARE[requirement.compare]
    return [
        f"{requirement} does not hold: "
        + (f"not measured{where}: {why}" if value is None else _digits(value, requirement) + where)
        for value, where, why in _values(model, requirement.name)
        if value is None or not holds(value, requirement.value)
    ]


def _values(model: Model, name: str) -> list[_Value]:
    """Every value that a name stands for."""
    if name in _FILE_FIGURES:
        return [_Value(_FILE_FIGURES[name](model), "", _MISSING_REASONS.get(name, ""))]
    if name in _SETTING_FIGURES:
        return [
            _Value(
                _SETTING_FIGURES[name](latency),
                f" ({setting(latency['threads'], latency['batch'])})",
                _too_few(name, latency),
            )
            for latency in model["latency"]
        ]
    quality = model["quality"]
    if quality is None:
        return [_Value(None, "", "there was no --data")]
    return [_Value(_figure(quality, name), f" on {quality['data']}", _missing(quality))]


def _figure(quality: Quality, name: str) -> float | None:
    metric, _, end = name.partition(".")
    # The name is one of QUALITY_METRICS, which are keys; mypy sees a str.
    figure: float | None = quality[metric][end or "value"]  # type: ignore[literal-required]
    return figure


def _missing(quality: Quality) -> str:
    none = [kind for kind in ("known", "unknown") if not quality[kind]]
    return f"no images of {' or '.join(none)} classes"


def _too_few(name: str, latency: Latency) -> str:
    timing = latency["decision" if name.startswith("decision") else "model"]
    calls, rounds = timing["calls"], len(timing["rounds_ms"])
    needed = FEWEST_CALLS[95 if "p95" in name else 99]
    return f"{calls} calls are too few; raise --rounds to {math.ceil(needed * rounds / calls)}"


def _number(shown: str, name: str, text: str) -> float:
    share = name in _SHARES
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (text.endswith("%") and not share):
        raise BenchError(f"--require: {shown}: {text!r} is not a number")
    if share and not 0 <= value <= 1:
        per_cent = 1 < value <= 100 and not text.endswith("%")
        instead = f"; write {value / 100:g} or {value:g}%" if per_cent else ""
        raise BenchError(
            f"--require: {shown}: {name} is a share between 0 and 1, or 0% and 100%{instead}"
        )
    return value


def _digits(value: float, requirement: Requirement) -> str:
    """A value that breaks a requirement, with enough digits that the printed number does too."""
    if isinstance(value, int):
        return str(value)
    shown = (float(f"{value:.{digits}g}") for digits in range(4, 18))
    holds = _COMPARE[requirement.compare]
    breaking = next(number for number in shown if not holds(number, requirement.value))
    return str(breaking).removesuffix(".0")


def _mega(value: int | None) -> float | None:
    return None if value is None else value / _MEGA
