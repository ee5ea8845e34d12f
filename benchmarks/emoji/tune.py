"""Tune the embedded recipes: the same trials for every method, without a look at the target.

The sources of target `line` stand in for the whole task: every trial trains on twemoji and camera,
takes openmoji for an unseen domain and three of the twelve known classes for unknown ones. The
domain `line` and the benchmark's unknown classes are never opened. A trial is a learning rate; what
it is worth is its deployed H-score on that stand-in, at the best of the scores and acceptances that
every trial tries. Its own hyper-parameters stay the method's authors'. The choices are for all four
targets, and written down with every trial.

    python benchmarks/emoji/tune.py benchmarks/emoji/tuning.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from edgedistill.data.store import open_store
from edgedistill.display import Display
from edgedistill.export.finished import load_finished
from edgedistill.openset import calibrate, evaluate
from edgedistill.openset.scores import SCORES
from edgedistill.pipeline import run
from edgedistill.problem import load_problem
from edgedistill.recipe import Recipe, load_recipe
from edgedistill.run_folder import RunFolder
from edgedistill.train.predict import predict

RECIPES = Path(__file__).parents[2] / "recipes"
METHODS = ("erm", "kd", "clipbase", "scipd", "scmd")
RATES = (0.0003, 0.001, 0.003, 0.01)
ACCEPTANCES = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
UNKNOWN = ("musical_instruments", "people", "sports_equipment")
SEED = 0


def trial(method: str, rate: float, runs: Path) -> dict[str, Any]:
    """One training run, and its H-score on the stand-in for every score and acceptance."""
    recipe = load_recipe(
        RECIPES / f"mobilenet_{method}.toml",
        [
            'data.target="openmoji"',
            'data.sources=["twemoji", "camera"]',
            f"data.unknown={json.dumps(UNKNOWN)}",
            f"data.known={json.dumps(known_classes(method))}",
            f"train.lr={rate}",
            f"seed={SEED}",
        ],
    )
    folder = runs / f"{method}-{rate}"
    metrics, _ = run(recipe, folder, Display(quiet=True))
    return {
        "lr": rate,
        "source_val_accuracy": metrics["source_val"]["accuracy"],
        "accuracy": metrics["target"]["accuracy"],
        "auroc": metrics["target"]["auroc"],
        "settings": rejection(recipe, folder),
    }


def known_classes(method: str) -> list[str]:
    everything = load_problem(load_recipe(RECIPES / f"mobilenet_{method}.toml", []))
    return [name for name in everything.split.known if name not in UNKNOWN]


def rejection(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """Deployed H-score and AUROC of a finished run under every score and acceptance."""
    finished, problem = load_finished(RunFolder(folder)), load_problem(recipe)
    store = open_store(problem.index, recipe.student.size)
    outputs = {}
    for name, rows in (("val", problem.split.val), ("target", problem.target)):
        found = store.decoded(rows)
        labels = problem.split.known_label[problem.index.label[found.rows]]
        outputs[name] = predict(
            finished.student, finished.method, found.images, labels, device=torch.device("cpu")
        )
    projects = outputs["val"].cosines is not None
    table = []
    for score in SCORES:
        if score == "max_cosine" and not projects:
            continue
        for acceptance in ACCEPTANCES:
            threshold = calibrate(outputs["val"].score(score), acceptance)
            scored = evaluate(
                outputs["target"], score=score, threshold=threshold, known=finished.classes
            )
            table.append(
                {
                    "score": score,
                    "acceptance": acceptance,
                    "h_score": scored["h_score"],
                    "auroc": scored["auroc"],
                }
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    args = parser.parse_args()
    table: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for method in args.methods:
        trials = []
        for rate in args.rates:
            trials.append(trial(method, rate, args.runs))
            best = max(trials[-1]["settings"], key=lambda s: s["h_score"])
            print(method, rate, round(trials[-1]["source_val_accuracy"], 3), best, flush=True)
        chosen = max(
            ({"lr": t["lr"], **s} for t in trials for s in t["settings"]),
            key=lambda s: s["h_score"],
        )
        table[method] = {"chosen": chosen, "trials": trials}
        args.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
