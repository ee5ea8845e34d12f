"""Pure functions of the search behind the embedded recipes: draws, survivors and the choice.

Random search with successive halving. Every method has the same number of trials, and trial i of
every method has the same learning rate and weight decay. Even trials leave a method's own
hyper-parameters at its authors' values, odd ones draw them too. A rung trains its trials with a
whole schedule of its own, so that trials within a rung are comparable.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgedistill import registries
from edgedistill.methods import SearchRange, authors_default, search_space

# Those of the recorded search.
METHODS = ("erm", "kd", "clipbase", "scipd", "scmd")
TRIALS = 20
# Steps of a run, and how many trials of a method get them.
RUNGS = ((60, TRIALS), (200, 6))
ACCEPTANCES = tuple(round(0.95 - 0.05 * i, 2) for i in range(12))
SEED = 0


COMMON = {
    "train.lr": SearchRange(1e-4, 3e-2),
    "train.weight_decay": SearchRange(1e-5, 5e-3),
}
# What a method's hyper-parameters say of themselves: their ranges and the authors' values.
OWN: dict[str, dict[str, SearchRange]] = {
    method: {
        f"method.{field}": values
        for field, values in search_space(registries.METHODS[method].Hyper).items()
    }
    for method in METHODS
}
AUTHORS: dict[str, dict[str, float]] = {
    method: {
        field: authors_default(registries.METHODS[method].Hyper, field.removeprefix("method."))
        for field in fields
    }
    for method, fields in OWN.items()
}

Result = Mapping[str, Any]


def draws(method: str, trials: int = TRIALS, seed: int = SEED) -> list[dict[str, float]]:
    """Recipe field -> value, for every trial of a method.

    A range is cut into as many equal parts as values are drawn from it, with one value in each, in
    random order.
    """
    settings: list[dict[str, float]] = [{} for _ in range(trials)]
    for field, values in COMMON.items():
        for number, value in enumerate(stratified(values, trials, f"{seed} {field}")):
            settings[number][field] = value
    for fields in settings[::2]:
        fields |= AUTHORS[method]
    drawn = range(1, trials, 2)
    for field, values in OWN[method].items():
        key = f"{seed} {method} {field}"
        for number, value in zip(drawn, stratified(values, len(drawn), key), strict=True):
            settings[number][field] = value
    return settings


def lengths(steps: int, average: str) -> dict[str, int]:
    """Recipe keys that scale with the number of steps, in the shares of the recipes' 200 steps."""
    fields = {
        "train.steps": steps,
        "train.warmup_steps": steps // 10,
        "train.eval_every": max(1, steps // 4),
    }
    if average == "sma":
        fields["train.sma_start"] = max(1, steps // 2)
    return fields


def best_setting(result: Result, acceptances: Sequence[float]) -> dict[str, Any]:
    """Score, acceptance and deployed H-score of a trial's best setting, the first of equals.

    `result["h_scores"]` has, for each score, the H-score at each acceptance. A run that diverged
    has none, and is worth nothing.
    """
    best: dict[str, Any] = {"score": None, "acceptance": None, "h_score": 0.0}
    for score, values in result["h_scores"].items():
        for target_keep_rate, value in zip(acceptances, values, strict=True):
            if value > best["h_score"]:
                best = {"score": score, "acceptance": target_keep_rate, "h_score": value}
    return best


def promoted(results: Sequence[Result], keep: int, acceptances: Sequence[float]) -> list[int]:
    """Numbers of the `keep` best trials, best first, the earlier of equals first."""
    ranked = sorted(results, key=lambda r: (-best_setting(r, acceptances)["h_score"], r["trial"]))
    return [r["trial"] for r in ranked[:keep]]


def chosen(results: Sequence[Result], acceptances: Sequence[float]) -> dict[str, Any]:
    """The best trial of the longest rung, with its best setting."""
    longest = max(r["steps"] for r in results)
    finalists = [r for r in results if r["steps"] == longest]
    number = promoted(finalists, 1, acceptances)[0]
    best = next(r for r in finalists if r["trial"] == number)
    setting = best_setting(best, acceptances)
    return {"trial": number, "steps": longest, "fields": dict(best["fields"]), **setting}


def at_the_edge(method: str, fields: Mapping[str, float]) -> list[str]:
    """Fields whose value is within a twentieth of an end of its range."""
    ranges = COMMON | OWN[method]
    return [f for f, value in fields.items() if not 0.05 < ranges[f].share(value) < 0.95]


def stratified(values: SearchRange, count: int, key: str) -> list[float]:
    """`count` values, one from each of as many equal parts of a range, in random order.

    The same `key` draws the same values.
    """
    rng = np.random.default_rng([zlib.crc32(key.encode())])
    shares = (rng.permutation(count) + rng.random(count)) / count
    return [values.at(float(share)) for share in shares]
