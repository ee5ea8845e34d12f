"""Tune the embedded recipes: the same search for every method, without a look at the target.

The sources of target `line` stand in for the whole task: every trial trains on twemoji and camera,
takes openmoji for an unseen domain and three of the twelve known classes for unknown ones. The
domain `line` and the benchmark's unknown classes are never opened. What a trial is worth is its
deployed H-score on that stand-in, at the best of the scores and acceptances that every trial
tries. What is drawn and chosen is in search.py.

    python -m benchmarks.emoji.tune run --jobs 2   # kill it and go on at any time
    python -m benchmarks.emoji.tune apply          # what it chose, into recipes/mobilenet_*.toml
    python -m benchmarks.emoji.tune render         # the table, into benchmarks/emoji/RESULTS.md

Runs have one thread each, so that the numbers do not depend on --jobs.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.emoji.search import (
    ACCEPTANCES,
    METHODS,
    RUNGS,
    SEED,
    chosen,
    draws,
    lengths,
    promoted,
)
from benchmarks.emoji.trained_with import content_key
from benchmarks.emoji.tuning_text import MARK, applied, document
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_json, write_text
from edgedistill.errors import DivergedError, EdgeDistillError, RecipeError

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("tuning.json")
STAND_IN = {
    "target": "openmoji",
    "sources": ["twemoji", "camera"],
    "unknown": ["musical_instruments", "people", "sports_equipment"],
}


@dataclass(frozen=True)
class Trial:
    """One run to do: `fields` are those of `draws`."""

    method: str
    number: int
    steps: int
    fields: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.method}-{self.number:02d}-{self.steps}"


def recipe_of(trial: Trial) -> Any:
    """The recipe of a trial. Raises EdgeDistillError."""
    from edgedistill.data.protocols.resolve import resolve_split
    from edgedistill.recipe import load_recipe

    path = recipe_path(trial.method)
    plain = load_recipe(path)
    known = [c for c in resolve_split(plain.data).split.known if c not in STAND_IN["unknown"]]
    data = {f"data.{key}": value for key, value in STAND_IN.items()} | {"data.known": known}
    fields = data | trial.fields | lengths(trial.steps, plain.train.average) | {"seed": SEED}
    # Whatever `apply` wrote: a trial looks at all scores and acceptances, and is the same run.
    fields |= {"openset.score": "max_logit", "openset.keep": 0.95}
    return load_recipe(path, [f"{key}={json.dumps(value)}" for key, value in fields.items()])


def recipe_path(method: str) -> Path:
    return ROOT / "recipes" / f"mobilenet_{method}.toml"


def measured(trial: Trial, runs: Path) -> dict[str, Any]:
    """A trial's run and its worth; read back where an earlier start finished it."""
    import torch

    from edgedistill.runs.pipeline import run_pipeline

    torch.set_num_threads(1)
    recipe = recipe_of(trial)
    folder = runs / f"{trial.name}-{content_key(recipe)}"
    record = folder / "trial.json"
    if record.exists():
        earlier: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return earlier
    result = {"trial": trial.number, "steps": trial.steps, "fields": trial.fields}
    try:
        metrics, _ = run_pipeline(recipe, folder)
        result |= {
            "source_val_accuracy": round(metrics["source_val"]["accuracy"], 4),
            "accuracy": round(metrics["target"]["accuracy"], 4),
            **rejection(recipe, folder),
            "seconds": round(metrics["seconds"], 1),
        }
    except DivergedError:
        result |= {"diverged": True, "h_scores": {}, "auroc": {}}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, result)
    return result


def rejection(recipe: Any, folder: Path) -> dict[str, Any]:
    """Deployed H-scores of a finished run, by score and acceptance, and AUROC by score."""
    import torch

    from edgedistill.data.protocols.resolve import resolve_split
    from edgedistill.data.store.image_store import open_store
    from edgedistill.openset import calibrate, evaluate
    from edgedistill.openset.head import OpenSetHead
    from edgedistill.registries import SCORES
    from edgedistill.runs.finished import load_finished
    from edgedistill.runs.folder import RunFolder
    from edgedistill.train.predict import predict

    finished, dataset = load_finished(RunFolder(folder)), resolve_split(recipe.data)
    store, text = open_store(dataset.index, recipe.student.size), finished.method.text
    val, target = (dataset.label(store.images(r)) for r in (dataset.split.val, dataset.target))
    h_scores: dict[str, list[float]] = {}
    auroc: dict[str, float] = {}
    for score in SCORES:
        try:
            head = OpenSetHead(score, texts=None if text is None else text.references)
            val_outputs, target_outputs = (
                predict(finished.student, head, labelled, device=torch.device("cpu"))
                for labelled in (val, target)
            )
        except RecipeError:  # The method does not project.
            continue
        h_scores[score] = []
        for target_keep_rate in ACCEPTANCES:
            threshold = calibrate(val_outputs.scores, target_keep_rate)
            metrics = evaluate(target_outputs, threshold=threshold, known=finished.classes)
            h_scores[score].append(round(metrics["h_score"], 4))
            auroc[score] = round(metrics["auroc"], 4)
    return {"h_scores": h_scores, "auroc": auroc}


def done(trials: Sequence[Trial], runs: Path, jobs: int) -> Iterator[tuple[Trial, Any]]:
    """Every trial with its result, as they end, `jobs` at a time."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        futures = {pool.submit(measured, trial, runs): trial for trial in trials}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def search(methods: Sequence[str], rungs: Sequence[tuple[int, int]], options: Any) -> None:
    """The whole search, with the record brought up to date after every trial."""
    results: dict[str, list[Any]] = {method: [] for method in methods}
    count, total = 0, len(methods) * sum(keep for _, keep in rungs)
    trials = rungs[0][1]
    numbers = {method: list(range(trials)) for method in methods}
    drawn = {method: draws(method, trials) for method in methods}
    for steps, keep in rungs:
        if steps != rungs[0][0]:
            numbers = {m: promoted(results[m], keep, ACCEPTANCES) for m in methods}
        # Trial by trial, so that a search that is cut short has as many of every method.
        queue = [
            Trial(method, numbers[method][place], steps, drawn[method][numbers[method][place]])
            for place in range(keep)
            for method in methods
        ]
        began = time.monotonic()
        here: dict[str, list[Any]] = {method: [] for method in methods}
        for ended, (trial, result) in enumerate(done(queue, options.runs, options.jobs), 1):
            count += 1
            here[trial.method].append(result)
            left = (time.monotonic() - began) / ended * (len(queue) - ended) / 60
            worth = max((h for row in result["h_scores"].values() for h in row), default=0.0)
            print(
                f"{count}/{total} {trial.name}: H {100 * worth:.1f}, lr {trial.fields['train.lr']},"
                f" about {left:.0f} min left of the runs of {steps} steps",
                flush=True,
            )
        for method in methods:
            here[method].sort(key=lambda r: r["trial"])
            results[method] += here[method]
        write_text(options.record, to_text(results, rungs))


def to_text(results: dict[str, list[Any]], rungs: Sequence[tuple[int, int]]) -> str:
    """tuning.json, a line for every trial, so that changes can be read."""
    head = {
        "seed": SEED,
        "rungs": [{"steps": steps, "trials": keep} for steps, keep in rungs],
        "acceptances": list(ACCEPTANCES),
        "stand_in": STAND_IN,
    }
    lines = [f' "{key}": {json.dumps(value)},' for key, value in head.items()]
    methods = []
    for method, trials in results.items():
        inner = ",\n".join(f"   {json.dumps(trial)}" for trial in trials)
        choice = json.dumps(chosen(trials, ACCEPTANCES))
        methods.append(f'  "{method}": {{"chosen": {choice}, "trials": [\n{inner}\n  ]}}')
    inner = ",\n".join(methods)
    return "{\n" + "\n".join(lines) + f'\n "methods": {{\n{inner}\n }}\n}}\n'


def apply(record: Any, folder: Path) -> None:
    """Write what was chosen into the recipes of MobileNetV3-Small."""
    for method, entry in record["methods"].items():
        path = folder / f"mobilenet_{method}.toml"
        write_text(path, applied(path.read_text(encoding="utf-8"), entry["chosen"]))
        print(f"{path.name}: {json.dumps(entry['chosen'])}")


def rung(text: str) -> tuple[int, int]:
    """`200:5` as (200, 5)."""
    steps, _, trials = text.partition(":")
    return whole(1, 10**6)(steps), whole(1, 1000)(trials)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "apply", "render"))
    parser.add_argument("--jobs", type=whole(1, 1024), default=1, help="runs at a time")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "tune")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file of all trials")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--rungs", nargs="+", type=rung, default=list(RUNGS), help="STEPS:TRIALS of each"
    )
    options = parser.parse_args()
    if options.command == "run":
        # Of this process too: the children inherit it before they start.
        os.environ["OMP_NUM_THREADS"] = "1"
        search(options.methods, options.rungs, options)
        return
    record = read_record(options.record, "python -m benchmarks.emoji.tune run")
    if "methods" not in record:
        raise EdgeDistillError(f"{options.record}: of an earlier search; start `run` first")
    if options.command == "apply":
        apply(record, ROOT / "recipes")
    else:
        write_between(ROOT / "benchmarks" / "emoji" / "RESULTS.md", MARK, document(record))


if __name__ == "__main__":
    run_script(main)
