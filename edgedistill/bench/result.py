"""Schema of a benchmark's result, as the JSON file of `edgedistill bench` holds it.

A `Result` is plain dictionaries, lists, numbers and texts, so that `json.load` of a file gives the
same thing back. `SCHEMA` grows when a key changes its meaning or goes away; new keys may appear
without. Rules for all of it:

- None (null) stands for what could not be measured or makes no sense here, never for zero.
- Times are wall-clock milliseconds where a key ends in `_ms`, seconds in `_s`; sizes are bytes;
  rates, shares and quality figures are 0..1.
- Models are in the order of the command line. `name` is unique in a result and short enough for a
  table; comparisons refer to it.
- `latency` of every model and of every comparison has the same settings in the same order:
  threads outside, batch inside.

Sources: `timing` for the latencies, their ratios and the noise; `process` for cold start and
memory; `cost` for parameters and MACs; `machine` for the machine; `quality` for the `Quality` of a
model and the `quality` of a comparison; `collect` assembles the result.
"""

from typing import Literal, TypedDict

SCHEMA = 1

QualityMetric = Literal[
    "accuracy",
    "h_score",
    "oracle_h_score",
    "best_h_score",
    "known_acceptance",
    "unknown_rejection",
    "auroc",
    "fpr95",
    "oscr",
]

QUALITY_METRICS: tuple[QualityMetric, ...] = (
    "accuracy",
    "h_score",
    "oracle_h_score",
    "best_h_score",
    "known_acceptance",
    "unknown_rejection",
    "auroc",
    "fpr95",
    "oscr",
)


class Machine(TypedDict):
    """The machine of the measurement.

    cpu: model name. arch: as `uname -m`. cores: logical ones this process may use. flags: those of
    the CPU's flags that decide which kernels run, such as "avx512_vnni". governor: of the first
    core's clock. load_before, load_after: 1-minute load averages. steal: share of the time that a
    hypervisor gave to others while measuring. date: UTC, ISO 8601, when measuring began.
    """

    cpu: str
    arch: str
    cores: int
    flags: list[str]
    governor: str | None
    load_before: float | None
    load_after: float | None
    steal: float | None
    os: str
    python: str
    numpy: str
    onnxruntime: str
    edgedistill: str
    date: str


class Contract(TypedDict):
    """Metadata of the file. threshold: its default. size: side of the input, pixels."""

    student: str
    method: str
    classes: list[str]
    precision: str
    size: int
    score: str
    threshold: float


class Interval(TypedDict):
    """A figure with its 95 % interval; None where images of a kind are missing.

    The interval is the exact binomial one (Clopper and Pearson) for accuracy, known_acceptance and
    unknown_rejection, and that of the bootstrap for the others.
    """

    value: float | None
    low: float | None
    high: float | None


class Quality(TypedDict):
    """Answers on labelled images, at `threshold`.

    data: the recipe or folder. target: name of the target domain, None for a folder without one.
    known, unknown: images answered; unreadable: images left out. unknown_classes: names of the
    classes whose images count as unknown. own_target: the domain that the file's own run held out,
    as the file says. resamples: behind the bootstrap's intervals. The metrics are those of
    `edgedistill.openset.metrics`: h_score is the deployed one, oracle_h_score the grid maximum of
    the HDG protocol, best_h_score the maximum over all thresholds. The intervals of these two are
    of the maximum that every resample has for itself.
    """

    data: str
    target: str | None
    own_target: str | None
    known: int
    unknown: int
    unreadable: int
    unknown_classes: list[str]
    resamples: int
    threshold: float
    accuracy: Interval
    h_score: Interval
    oracle_h_score: Interval
    best_h_score: Interval
    known_acceptance: Interval
    unknown_rejection: Interval
    auroc: Interval
    fpr95: Interval
    oscr: Interval


class Timing(TypedDict):
    """Times of one thing, called again and again in rounds.

    p50_ms: median of the medians of rounds. p95_ms, p99_ms: over all calls of all rounds; None
    with fewer than 20, 100 calls. rounds_ms: the median of every round, in order; entry i of two
    models was taken in the same round. spread: (largest - smallest of rounds_ms) / p50_ms. calls:
    of all rounds together, as many in each.
    images_per_second: batch / p50.
    """

    p50_ms: float
    p95_ms: float | None
    p99_ms: float | None
    rounds_ms: list[float]
    spread: float
    calls: int
    images_per_second: float


class Latency(TypedDict):
    """A call answers `batch` images with `threads` threads.

    model: pixels at the input size to answers. decision: image files to decisions, with decoding
    and resizing.
    """

    threads: int
    batch: int
    model: Timing
    decision: Timing


class ColdStart(TypedDict):
    """Starting a fresh Python process, until it has answered its first image file.

    values_s: all, in order; median_s: their median; user_cpu_s: median user CPU time until then.
    """

    median_s: float
    values_s: list[float]
    user_cpu_s: float | None


class Model(TypedDict):
    """One file. parameters: weights and biases; macs: multiply-accumulates of one image.

    providers: onnxruntime execution providers, in order of preference, that started and were the
    only ones; with several of them, which one ran which layer is onnxruntime's choice.
    peak_memory_bytes: most resident memory of a fresh process that answers one image file, batch 1,
    with the first number of threads.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    contract: Contract
    parameters: int | None
    macs: int | None
    providers: list[str]
    quality: Quality | None
    latency: list[Latency]
    cold_start: ColdStart
    peak_memory_bytes: int | None


Ranking = Literal["faster", "slower", "not ranked"]


class Ratio(TypedDict):
    """Time of the model over time of the baseline: the median over rounds, below 1 = faster.

    low, high: 95 % interval of that median. verdict: "not ranked" where the interval meets
    1 ± noise of the same setting.
    """

    value: float
    low: float
    high: float
    verdict: Ranking


class LatencyRatio(TypedDict):
    """Both times of one setting."""

    threads: int
    batch: int
    model: Ratio
    decision: Ratio


class Difference(TypedDict):
    """Model minus baseline on the same images, with its paired 95 % interval and p-value.

    p: two-sided; McNemar's exact test for the metrics that are shares of images (accuracy,
    known_acceptance, unknown_rejection), the paired bootstrap's for the others.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None


class Comparison(TypedDict):
    """One model against the baseline, both by name; quality is None without data."""

    model: str
    baseline: str
    latency: list[LatencyRatio]
    quality: dict[QualityMetric, Difference] | None


class SelfRatio(TypedDict):
    """The baseline's file, loaded a second time, against itself.

    noise: the largest distance of low, high from 1.
    """

    value: float
    low: float
    high: float
    noise: float


class SettingNoise(TypedDict):
    """Both times of one setting."""

    threads: int
    batch: int
    model: SelfRatio
    decision: SelfRatio


class Noise(TypedDict):
    """Time ratios of two equal files on this machine during the measurement.

    verdict: "noisy" where `worst`, the largest noise of all settings, is above `limit`.
    """

    verdict: Literal["quiet", "noisy"]
    worst: float
    limit: float
    settings: list[SettingNoise]


class MeasurementSettings(TypedDict):
    """Settings of the measurement.

    rounds: of each setting. warm_up: calls after each loading that do not count. round_seconds: a
    model is called as often in a round as fits into these, but at least calls_per_round[0] and at
    most calls_per_round[1] times. starts: fresh processes per model, for cold start and memory.
    image: the file that `decision`, cold start and memory read: "WxH FORMAT, n bytes" and its
    origin.
    """

    rounds: int
    warm_up: int
    round_seconds: float
    calls_per_round: list[int]
    starts: int
    threads: list[int]
    batch: list[int]
    image: str


class Result(TypedDict):
    """The whole result; one comparison per model but the baseline, in the order of the models."""

    schema: int
    machine: Machine
    method: MeasurementSettings
    baseline: str
    models: list[Model]
    comparisons: list[Comparison]
    noise: Noise
