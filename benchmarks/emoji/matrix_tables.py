"""The matrix as Markdown, from what matrix.json holds: any part of it, missing cells shown."""

import json
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

from benchmarks.emoji.matrix_stats import (
    EXACT_PAIRS,
    FLIPS,
    LEVEL,
    Comparison,
    beaten,
    int8_compared,
    methods_compared,
    smallest_possible,
)

Record = Mapping[str, Any]
Row = Mapping[str, Any]

SHOWN = {"accuracy": "accuracy", "h_score": "H deployed", "oracle_h_score": "H oracle"}
SHOWN |= {"auroc": "AUROC"}
TESTED = {"accuracy": "accuracy", "h_score": "H deployed", "auroc": "AUROC"}
# Whose share of known images the teacher's threshold keeps.
TEACHERS_RECIPE = "scipd"
# CPUs of one name may differ in these, and with them in time.
TELLING = ("amx_int8", "avx512_vnni", "avx512f", "avx_vnni", "avx2", "i8mm", "asimddp")
MISSING = "–"
EMPTY = "No run of the matrix has been recorded yet."


def cell(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, per cent; the mean alone of one value."""
    if not values:
        return MISSING
    mean = f"{100 * fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * stdev(values):.1f}"


def start_of(weights: str) -> str:
    """Name of a student's start weights for readers."""
    named = {"embedded": "start weights", "none": "random weights"}
    named |= {"imagenet": "ImageNet", "imagenet-v2": "ImageNet v2"}
    # A file's folder means nothing on another machine.
    return named.get(weights, weights.replace("\\", "/").rpartition("/")[2])


def starts(rows: Sequence[Row], student: str) -> str:
    """Names of the start weights of the student's runs."""
    names = {start_of(row["weights"]) for row in rows if row["student"] == student}
    return " and ".join(sorted(names)) or MISSING


def over_targets(rows: Sequence[Row], metric: str, precision: str = "fp32") -> list[float]:
    """Means over targets, one for every seed that has them all.

    `rows` are those of one student and method, each with the targets that the whole record has.
    """
    by_seed: dict[int, dict[str, float]] = {}
    for row in rows:
        value = row[precision].get(metric)
        if value is not None:
            by_seed.setdefault(row["seed"], {})[row["target"]] = value
    targets = {target for row in rows for target in row["targets"]}
    return [
        fmean(means[target] for target in sorted(targets))
        for _, means in sorted(by_seed.items())
        if set(means) == targets
    ]


def document(record: Record) -> str:
    """Everything that benchmarks/emoji/RESULTS.md says about the matrix."""
    rows = rows_of(record)
    if not rows:
        return EMPTY
    compared = {metric: methods_compared(rows, metric) for metric in TESTED}
    parts = [
        header(record),
        quality_table(record, rows, compared["h_score"]),
        *(by_target_table(record, rows, metric, TESTED[metric]) for metric in ("h_score",)),
        cost_table(record, rows),
        *differences(compared),
        *int8_differences(rows),
    ]
    return "\n\n".join(parts)


def summary(record: Record) -> str:
    """The table of README.md and docs/results.md: H deployed and time of every student."""
    rows = rows_of(record)
    if not rows:
        return ""
    methods = record["axes"]["method"]
    lines = [
        _line(["H deployed", *methods, "ms fp32", "ms int8"]),
        "|---|" + "---:|" * (len(methods) + 2),
    ]
    for student in _students(record):
        cells = [cell(over_targets(_of(rows, student, m), "h_score")) for m in methods]
        times = [_milliseconds(record, student, p) for p in ("fp32", "int8")]
        lines.append(_line([f"{student}, {starts(rows, student)}", *cells, *times]))
    targets = ", ".join(f"`{t}`" for t in _targets(rows))
    text = (
        f"{len(rows)} of {record['planned']} runs, mean ± standard deviation over seeds of the "
        f"mean over {targets}"
    )
    if record["latency"]:
        text += f"; p50 of one image, {_where(record['measured'])}"
    text += ". `python -m benchmarks.emoji.matrix` wrote this."
    return "\n".join(lines) + f"\n\n{text}"


def header(record: Record) -> str:
    """Sentence that counts the runs of the matrix that are recorded."""
    rows = record["rows"]
    refused = sum("refused" in row["int8"] for row in rows)
    text = f"**{len(rows)} of {record['planned']} runs are in**, every one with its fp32 file"
    text += f", {len(rows) - refused} with the int8 file"
    if refused:
        singular = "file was refused, as it loses"
        plural = "files were refused, as they lose"
        text += (
            f"; {refused} int8 {singular if refused == 1 else plural} more than a point on source "
        )
        text += "validation, and means of int8 leave the seed out"
    text += f". Cells without a run show {MISSING}."
    absent = [s for s in record["axes"]["student"] if s not in _students(record)]
    if absent:
        text += f" Not run yet: {', '.join(absent)}."
    return text


def quality_table(record: Record, rows: Sequence[Row], compared: Sequence[Comparison]) -> str:
    """One line per student and method, means over targets."""
    columns = ["student", "start", "method", "runs", *SHOWN.values()]
    columns += ["int8 accuracy", "int8 H deployed", "H deployed better than"]
    lines = [_line(columns), "|---|---|---|---:|" + "---:|" * (len(SHOWN) + 2) + "---|"]
    of_cell = record["planned"] // (
        len(record["axes"]["student"]) * len(record["axes"]["method"]) or 1
    )
    for student in _students(record):
        for method in record["axes"]["method"]:
            mine = _of(rows, student, method)
            values = [cell(over_targets(mine, metric)) for metric in SHOWN]
            int8 = [_int8_cell(mine, metric) for metric in ("accuracy", "h_score")]
            better = ", ".join(beaten(compared, student, method)) or MISSING
            start = starts(rows, student)
            count = f"{len(mine)}/{of_cell}"
            lines.append(_line([student, start, method, count, *values, *int8, better]))
    title = f"Files as a device runs them, per cent, means over {_names(_targets(rows))}"
    return f"{title}:\n\n" + "\n".join(lines)


def _int8_cell(rows: Sequence[Row], metric: str) -> str:
    """Without the seeds of refused files, it is another mean than that of fp32 beside it."""
    int8_seeds, seeds = over_targets(rows, metric, "int8"), len(over_targets(rows, metric))
    left_out = f" ({len(int8_seeds)} of {seeds} seeds)" if 0 < len(int8_seeds) < seeds else ""
    return cell(int8_seeds) + left_out


def by_target_table(record: Record, rows: Sequence[Row], metric: str, title: str) -> str:
    """A metric of the fp32 files on every target, and the teacher's, see `TEACHERS_RECIPE`."""
    targets = _targets(rows)
    lines = [_line(["student", "method", *targets]), "|---|---|" + "---:|" * len(targets)]
    for student in _students(record):
        for method in record["axes"]["method"]:
            mine = _of(rows, student, method)
            cells = [
                cell([r["fp32"][metric] for r in mine if r["target"] == t and _has(r, metric)])
                for t in targets
            ]
            lines.append(_line([student, method, *cells]))
    cells = []
    for target in targets:
        times = [
            row["teacher"][metric]
            for row in rows
            if (row["target"], row["method"]) == (target, TEACHERS_RECIPE)
            and row["teacher"]
            and row["teacher"][metric] is not None
        ]
        # The same images, texts and threshold in every such run.
        cells.append(f"{100 * median(times):.1f}" if times else MISSING)
    lines.append(_line(["*teacher, zero-shot*", f"as {TEACHERS_RECIPE}", *cells]))
    return f"{title} by target, fp32:\n\n" + "\n".join(lines)


def cost_table(record: Record, rows: Sequence[Row]) -> str:
    """Size and time of every student's files."""
    columns = ["student", "fp32 MB", "int8 MB", "fp32 ms", "int8 ms", "int8 / fp32"]
    lines = [_line(columns), "|---|" + "---:|" * (len(columns) - 1)]
    for student in _students(record):
        mine = [row for row in rows if row["student"] == student]
        sizes = []
        for precision in ("fp32", "int8"):
            file_bytes = [row[precision]["bytes"] for row in mine if "bytes" in row[precision]]
            sizes.append(f"{median(file_bytes) / 1e6:.2f}" if file_bytes else MISSING)
        times = [_milliseconds(record, student, p) for p in ("fp32", "int8")]
        pairs = _time_ratios(record, student)
        ratio = f"{median(pairs):.2f}" if pairs else MISSING
        lines.append(_line([student, *sizes, *times, ratio]))
    table = "\n".join(lines)
    if not record["latency"]:
        return f"Sizes; the times have not been measured:\n\n{table}"
    return (
        "Cost of one image, p50 of interleaved rounds, the median over one file per method. "
        f"{_noise(record['measured'])}:\n\n{table}"
    )


def _noise(measured: Mapping[str, Record]) -> str:
    """Students timed in turns, the machine, and the difference between two equal files."""
    sessions: dict[str, list[str]] = {}
    for student, session in measured.items():
        sessions.setdefault(json.dumps(session, sort_keys=True), []).append(student)
    parts = []
    for text, students in sessions.items():
        session = json.loads(text)
        noise = session["noise"]
        *others, last = students
        who = f"{', '.join(others)} and {last}" if others else last
        part = f"{who}: {_where({'': session})}, two equal files came out within"
        part += f" {100 * noise['worst']:.0f} % of each other"
        if noise["verdict"] == "noisy":
            part += ", too noisy to rank what is near"
        parts.append(part)
    if len(parts) > 1:
        parts.append("students of different sessions did not take turns")
    return "; ".join(parts)


def _where(measured: Mapping[str, Record]) -> str:
    """Threads and CPUs, each with its most telling instructions."""
    machines = []
    for session in measured.values():
        machine = session["machine"]
        flag = next((f" with {name}" for name in TELLING if name in machine["flags"]), "")
        machines.append(f"{_threads(session['threads'])} on {machine['cpu']}{flag}")
    return " or ".join(dict.fromkeys(machines))


def differences(compared: Mapping[str, Sequence[Comparison]]) -> list[str]:
    """Conclusions about methods, and every significant difference."""
    targets = max((c.targets for tests in compared.values() for c in tests), default=1)
    parts = [
        "Differences between methods: pairs of runs with the same student, target and seed, "
        f"{_flips(_most_pairs(compared))} of the signs of the paired differences, corrected by "
        "Holm over all pairs of methods of all students of a metric; significant is p < "
        f"{LEVEL:g}. The test is conditional on these targets and their images, which the seeds "
        "of a target share: it says whether training again would give the difference on them, and "
        "not whether other images or another target would. Over targets alone, with one mean "
        f"difference each, no p could come below {2 / 2**targets:.2g}, as there "
        f"{_are(targets)}, so the last column says in how many the difference has the same sign."
    ]
    lines = [
        _line(["metric", "student", "higher", "lower", "points", "pairs", "p (Holm)", "targets"]),
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for metric, title in TESTED.items():
        tests = compared[metric]
        smallest = smallest_possible(tests)
        if smallest is None:
            parts.append(f"In {title} no two methods have a target and seed in common yet.")
        elif smallest >= LEVEL:
            parts.append(
                f"In {title} {len(tests)} comparisons of at most {max(c.pairs for c in tests)} "
                f"pairs could not come below p = {smallest:.2g}, whatever the runs say; nothing "
                "can be concluded yet."
            )
        for c in tests:
            if c.significant:
                high, low = (c.a, c.b) if c.difference > 0 else (c.b, c.a)
                points = f"{100 * abs(c.difference):.1f}"
                agree = f"{c.agree}/{c.targets}"
                p = f"{c.adjusted:.3g}"
                lines.append(_line([title, c.group, high, low, points, str(c.pairs), p, agree]))
    if len(lines) > 2:
        parts.append("\n".join(lines))
    else:
        parts.append("No difference between methods is significant in the runs that are in.")
    return parts


def int8_differences(rows: Sequence[Row]) -> list[str]:
    """Cost of int8 for each student, over all of its runs."""
    lines = [
        _line(["student", "metric", "int8 - fp32, points", "runs", "p (Holm)"]),
        "|---|---|---:|---:|---:|",
    ]
    compared = {metric: int8_compared(rows, metric) for metric in TESTED}
    for metric, title in TESTED.items():
        for c in compared[metric]:
            shown = [f"{100 * c.difference:+.2f}", str(c.pairs), f"{c.adjusted:.3g}"]
            lines.append(_line([c.group, title, *shown]))
    if len(lines) == 2:
        return []
    text = (
        "What int8 changes on the target, over all runs of a student, with every run as a pair: "
        f"{_flips(_most_pairs(compared))} of the signs of the paired differences, corrected over "
        "the students of a metric. It too is conditional on these targets and images, which the "
        "runs of a target share:"
    )
    return [text + "\n\n" + "\n".join(lines)]


def _most_pairs(compared: Mapping[str, Sequence[Comparison]]) -> int:
    return max((c.pairs for tests in compared.values() for c in tests), default=0)


def _flips(pairs: int) -> str:
    """Description of the test of so many pairs."""
    if pairs <= EXACT_PAIRS:
        return "exact test over all flips"
    return f"Monte Carlo test over {FLIPS:,} random flips"


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def rows_of(record: Record) -> list[Row]:
    """The rows, each with the targets that the record has at all."""
    targets = sorted({row["target"] for row in record["rows"]})
    return [{**row, "targets": targets} for row in record["rows"]]


def _students(record: Record) -> list[str]:
    """Those that have a run, in the plan's order."""
    finished = {row["student"] for row in record["rows"]}
    return [student for student in record["axes"]["student"] if student in finished]


def _targets(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["target"] for row in rows))


def _of(rows: Sequence[Row], student: str, method: str) -> list[Row]:
    return [row for row in rows if (row["student"], row["method"]) == (student, method)]


def _has(row: Row, metric: str) -> bool:
    return row["fp32"].get(metric) is not None


def _milliseconds(record: Record, student: str, precision: str) -> str:
    times = [
        entry["p50_ms"]
        for entry in record["latency"]
        if (entry["student"], entry["precision"]) == (student, precision)
    ]
    return f"{median(times):.2f}" if times else MISSING


def _time_ratios(record: Record, student: str) -> list[float]:
    """int8 over fp32 of every method that has both, the median over rounds taken together."""
    rounds = {
        (entry["method"], entry["precision"]): entry["rounds_ms"]
        for entry in record["latency"]
        if entry["student"] == student
    }
    return [
        median(a / b for a, b in zip(rounds[method, "int8"], times, strict=True))
        for (method, precision), times in rounds.items()
        if precision == "fp32" and (method, "int8") in rounds
    ]


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _names(targets: Sequence[str]) -> str:
    return ", ".join(f"`{target}`" for target in targets)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
