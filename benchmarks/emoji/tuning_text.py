"""Choice of the search, as a section of benchmarks/emoji/RESULTS.md and as lines of a recipe."""

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.emoji.search import COMMON, METHODS, OWN, at_the_edge, best_setting
from benchmarks.emoji.swept import wrapped
from edgedistill.errors import EdgeDistillError
from edgedistill.methods import SearchRange

MARK = "<!-- tuning -->"
# The comment of a recipe's score.
SCORES = {
    "max_logit": "the larger, the more like a known class",
    "max_softmax": "the largest class probability",
    "energy": "log of the summed exponentials of the logits",
    "max_cosine": "of the embedding with the class texts, as the teacher would score",
}
LINE = re.compile(r"^(?P<key>\w+) = (?P<value>[^#]*?)(?P<space>\s*)(?P<comment># .*)$")


def applied(text: str, choice: Mapping[str, Any]) -> str:
    """A recipe with the chosen values in the lines that it has; comments stay where they are.

    The chosen acceptance is not among them: recipes keep what a user would ask for.

    Raises EdgeDistillError for a value that the recipe has no line for.
    """
    if choice["score"] is None:
        raise EdgeDistillError("tuning: every trial diverged; nothing to apply")
    values = {field: f"{float(value)!r}" for field, value in choice["fields"].items()}
    values["openset.score"] = f'"{choice["score"]}"'
    section, lines = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        match = LINE.match(line)
        field = f"{section}.{match['key']}" if match else ""
        if match and field in values:
            comment = match["comment"]
            if field == "openset.score":
                comment = f"# {SCORES[choice['score']]}"
            line = f"{match['key']} = {values.pop(field)}".ljust(32) + comment
        lines.append(line)
    if values:
        raise EdgeDistillError(f"recipe: has no line for {', '.join(values)}")
    return "\n".join(lines) + "\n"


def document(record: Mapping[str, Any]) -> str:
    """The section of RESULTS.md: how it was searched, what was chosen, what limits it."""
    methods = [method for method in METHODS if method in record["methods"]]
    first, last = record["rungs"][0], record["rungs"][-1]
    rungs = f"{first['trials']} trials of {first['steps']} steps"
    if len(record["rungs"]) > 1:
        rungs += f", the best {last['trials']} again with {last['steps']} steps"
    stand_in, acceptances = record["stand_in"], record["acceptances"]
    unknown = ", ".join(stand_in["unknown"]).replace("_", " ")
    common = " and ".join(f"{_name(f)} {_range(r)}" for f, r in COMMON.items())
    own = "; ".join(
        f"{method} {', '.join(f'{_name(f)} {_range(r)}' for f, r in OWN[method].items())}"
        for method in methods
        if OWN[method]
    )
    parts = [
        "    python -m benchmarks.emoji.tune run --jobs 2\n"
        "    python -m benchmarks.emoji.tune apply",
        f"Every method has the same budget: {rungs}, each rung with a whole schedule of its own, "
        f"seed {record['seed']}. Drawn are {common}, the same values for every method; even trials "
        "keep a method's own hyper-parameters at its authors' values, odd ones draw those too: "
        f"{own}. A trial never sees the target `line` or an unknown class of the benchmark: it "
        f"trains on {' and '.join(f'`{s}`' for s in stand_in['sources'])} with nine of the twelve "
        f"known classes, takes `{stand_in['target']}` for the unseen domain and the other three "
        f"({unknown}) for unknown, and is worth its deployed H-score there, at the best of all "
        f"scores and of the acceptances from {acceptances[0]:g} down to {acceptances[-1]:g} by "
        "0.05. Every trial is in `benchmarks/emoji/tuning.json`. Per cent:",
        _table(record, methods),
        "*Finalists*: the range of H over the last rung's trials. *Short rung*: the best H of the "
        f"trials of {first['steps']} steps that keep the authors' hyper-parameters, and of those "
        "that draw them.",
        _edges(record, methods),
        "One seed and one stand-in task: differences of a few points mean little, and the best of "
        "many is worth a little less than it shows. "
        f"`{stand_in['target']}` was the stand-in's unseen domain, with other classes for unknown, "
        "and the other sources of `line` trained; `line` alone is a domain that nothing was tuned "
        "on. The recipes of the other students are not tuned.",
    ]
    return "\n\n".join(p if p.startswith(("|", " ")) else wrapped(p) for p in parts if p)


def _table(record: Mapping[str, Any], methods: list[str]) -> str:
    head = ["method", "rate", "weight decay", "own", "score", "acceptance", "H", "accuracy"]
    head += ["finalists", "short rung"]
    lines = [f"| {' | '.join(head)} |", "|---|---:|---:|---|---|---:|---:|---:|---:|---:|"]
    for method in methods:
        search = record["methods"][method]
        choice, trials = search["chosen"], search["trials"]
        fields = choice["fields"]
        own = ", ".join(f"{_name(f)} {fields[f]:g}" for f in OWN[method])
        own += " (authors')" if own and choice["trial"] % 2 == 0 else ""
        worth = {
            (t["trial"], t["steps"]): best_setting(t, record["acceptances"])["h_score"]
            for t in trials
        }
        final = [h for (_, steps), h in worth.items() if steps == choice["steps"]]
        short = {n: h for (n, s), h in worth.items() if s == record["rungs"][0]["steps"]}
        survivors_best = max((h for n, h in short.items() if n % 2 == 0), default=0.0)
        drawn = max((h for n, h in short.items() if n % 2), default=0.0)
        best = next(
            t for t in trials if (t["trial"], t["steps"]) == (choice["trial"], choice["steps"])
        )
        cells = [
            method,
            f"{fields['train.lr']:g}",
            f"{fields['train.weight_decay']:g}",
            own or "none",
            f"`{choice['score']}`",
            f"{choice['acceptance']:g}",
            f"{100 * choice['h_score']:.1f}",
            f"{100 * best['accuracy']:.1f}",
            f"{100 * min(final):.1f}–{100 * max(final):.1f}",
            f"{100 * survivors_best:.1f}, {100 * drawn:.1f}"
            if own != ""
            else f"{100 * max(short.values()):.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _edges(record: Mapping[str, Any], methods: list[str]) -> str:
    at_ends = []
    for method in methods:
        choice = record["methods"][method]["chosen"]
        names = [_name(f) for f in at_the_edge(method, choice["fields"])]
        if choice["acceptance"] == record["acceptances"][-1]:
            names.append("acceptance")
        if names:
            at_ends.append(f"{method}'s {' and '.join(names)}")
    if not at_ends:
        return ""
    return f"At an end of its range, so that the best may lie outside: {'; '.join(at_ends)}."


def _name(field: str) -> str:
    return {"lr": "rate", "weight_decay": "weight decay"}.get(
        field.rpartition(".")[2], field.rpartition(".")[2]
    )


def _range(values: SearchRange) -> str:
    return f"{values.low:g} to {values.high:g}{' (log-uniform)' if values.log else ''}"
