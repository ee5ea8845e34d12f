"""Tune the embedded recipes: as many trials for every method, chosen on source validation.

Every method tries three learning rates and two variants of its own (of the learning rate where it
has no hyper-parameter), on the sources of one target, without ever looking at that target. The
choice is by source-validation accuracy (mean over seeds), ties by the earlier trial.

    python benchmarks/emoji/tune.py OUT.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.display import Display
from edgedistill.pipeline import run
from edgedistill.recipe import load_recipe
from edgedistill.run_folder import open_run

RECIPES = Path(__file__).parents[2] / "recipes"
RATES = ("0.01", "0.03", "0.1")
OWN: dict[str, tuple[list[str], list[str]]] = {
    "erm": (["train.lr=0.02"], ["train.lr=0.06"]),
    "clipbase": (["train.lr=0.02"], ["train.lr=0.06"]),
    "kd": (["method.temperature=2.0"], ["method.weight=0.3"]),
    "scipd": (["method.beta=1.0"], ["method.alpha=0.4"]),
    "scmd": (["method.worst_case_p=0.5"], ["method.temperature=1.5"]),
}


def trials(method: str, best_rate: str | None) -> list[list[str]]:
    """Overrides of the first three trials, or of the last two once a rate is chosen."""
    if best_rate is None:
        return [[f"train.lr={rate}"] for rate in RATES]
    return [[f"train.lr={best_rate}", *extra] for extra in OWN[method]]


def score(method: str, sets: list[str], runs: Path, seeds: int) -> float:
    found = []
    for seed in range(seeds):
        path = RECIPES / f"mobilenet_{method}.toml"
        recipe = load_recipe(path, [*sets, f"seed={seed}"])
        label = "-".join(s.split(".")[-1] for s in sets)
        folder, state = open_run(runs / f"{method}-{label}-s{seed}", recipe)
        done = state == "finished"
        metrics = (
            json.loads(folder.metrics.read_text())
            if done
            else run(recipe, folder, Display(quiet=True))
        )
        # The only number of a trial that anything here reads.
        found.append(metrics["source_val"]["accuracy"])
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/tune"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=list(OWN))
    args = parser.parse_args()
    table: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for method in args.methods:
        rows: list[dict[str, Any]] = []
        for stage in (0, 1):
            best = max(rows, key=lambda r: r["source_val_accuracy"])["set"] if stage else None
            rate = best[0].split("=")[1] if best else None
            for sets in trials(method, rate):
                rows.append(
                    {
                        "set": sets,
                        "source_val_accuracy": score(method, sets, args.runs, args.seeds),
                    }
                )
                print(method, rows[-1], flush=True)
        chosen = max(rows, key=lambda r: r["source_val_accuracy"])["set"]
        table[method] = {"trials": rows, "chosen": chosen}
        args.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
