"""Records of compare.py and latency.py as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
MISSING = "–"


def peers_document(record: Record) -> str:
    """A table and a sentence per run."""
    if not record["runs"]:
        return "Not measured yet."
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return "\n\n".join(
        [f"Measured on {machine['cpu']}, {packages}.", *(_one(run) for run in record["runs"])]
    )


def answer(run: Record) -> str:
    """Share of its teacher's quality that the student keeps, and the fraction of the cost."""
    by_name = {contender["name"]: contender for contender in run["contenders"]}
    teacher = run["contenders"][-1]
    sentences = []
    for name in ("EdgeDistill fp32", "EdgeDistill int8"):
        if name not in by_name:
            continue
        mine = by_name[name]
        cost = f"{100 * mine['time_over_teacher']['value']:.0f} % of its time"
        cost += f" and {100 * mine['bytes'] / teacher['bytes']:.0f} % of its bytes"
        rates = [
            f"{share(mine['over_teacher'][key])} of its {title}"
            for key, title in (("h_score", "deployed H-score"), ("auroc", "AUROC"))
            if mine["over_teacher"][key]["value"] is not None
        ]
        sentences.append(
            f"In {mine['name'].split()[-1]} it keeps {' and '.join(rates)}, at {cost}."
        )
    return " ".join(sentences)


def share(interval: Mapping[str, float | None]) -> str:
    """`96 % (92 to 100)`."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return MISSING
    return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def latency_document(record: Record) -> str:
    """The latency of every student, engine, precision, size and number of threads."""
    entries = record["entries"]
    if not entries:
        return "Not measured yet."
    engines = list(dict.fromkeys(_engine(e) for e in entries))
    columns = ["student", "px", "threads", *engines, "int8 / fp32"]
    lines = [line(columns), "|---|" + "---:|" * (len(columns) - 1)]
    places = dict.fromkeys((e["student"], e["size"], e["threads"]) for e in entries)
    for place in places:
        here = {_engine(e): e for e in entries if (e["student"], e["size"], e["threads"]) == place}
        cells = [
            f"{here[engine]['timing']['p50_ms']:.2f}" if engine in here else MISSING
            for engine in engines
        ]
        int8 = here.get("onnxruntime int8")
        ratio = _ranked(int8["time_over_fp32"]) if int8 else MISSING
        lines.append(line([place[0], str(place[1]), str(place[2]), *cells, ratio]))
    machine = record["machine"]
    packages = ", ".join(f"{name} {v}" for name, v in record["versions"].items() if v)
    noise = 100 * max(e["noise"] for e in entries)
    text = (
        f"Milliseconds for one image, from uint8 pixels to the decision: p50 of {record['rounds']} "
        f"interleaved rounds on {machine['cpu']} ({', '.join(machine['flags'])}), load "
        f"{machine['load_before']:.1f} before; {packages}. The same file twice came out within "
        f"{noise:.0f} % in every row; a ratio in brackets is not beyond its row's noise."
    )
    left_out = "".join(f"\n\nLeft out: {reason}." for reason in record["skipped"])
    return f"{text}\n\n" + "\n".join(lines) + left_out


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _one(run: Record) -> str:
    columns = ["", "accuracy", "H deployed", "AUROC", "known keep rate", "unknown reject rate"]
    columns += ["MB", "p50 ms", "p95 ms", "time / teacher", "H / teacher"]
    lines = [line(columns), "|---|" + "---:|" * (len(columns) - 1)]
    for contender in run["contenders"]:
        rates = [
            MISSING if contender[key] is None else f"{100 * contender[key]:.1f}"
            for key in ("accuracy", "h_score", "auroc", "known_acceptance", "unknown_rejection")
        ]
        size = MISSING if contender["bytes"] is None else f"{contender['bytes'] / 1e6:.2f}"
        timing = contender["timing"]
        p95 = MISSING if timing["p95_ms"] is None else f"{timing['p95_ms']:.2f}"
        over = _ranked(contender["time_over_teacher"])
        cost = [
            size,
            f"{timing['p50_ms']:.2f}",
            p95,
            over,
            share(contender["over_teacher"]["h_score"]),
        ]
        lines.append(line([f"{contender['name']}, {contender['size']} px", *rates, *cost]))
    title = (
        f"`{run['run']}`: {run['student']} ({run['weights']}), {run['method']}, target "
        f"`{run['target']}`, teacher {run['teacher']}, {run['threads']} thread"
        f"{'' if run['threads'] == 1 else 's'}, {run['rounds']} rounds; the teacher against itself "
        f"came out within {100 * run['noise']['noise']:.0f} %:"
    )
    left_out = "".join(f"\n\nLeft out: {reason}." for reason in run["skipped"])
    return f"{title}\n\n" + "\n".join(lines) + f"\n\n{answer(run)}{left_out}"


def _ranked(ratio: Mapping[str, Any]) -> str:
    """A ratio of times, in brackets where the noise does not allow to rank."""
    text = f"{ratio['value']:.2f}"
    return f"({text})" if ratio["verdict"] == "not ranked" else text


def _engine(entry: Record) -> str:
    precision = "" if entry["engine"] == "PyTorch" else f" {entry['precision']}"
    return f"{entry['engine']}{precision}"
