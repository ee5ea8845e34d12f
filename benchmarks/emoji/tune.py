"""Tune the embedded recipes: as many trials for every method, chosen on source validation.

Every method tries the same three learning rates, its own hyper-parameters staying its authors'. The
trials run on the sources of one target and never look at that target; the choice is by
source-validation accuracy (mean over seeds), ties by the earlier trial.

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
RATES = ("0.001", "0.003", "0.01")
METHODS = ("erm", "kd", "clipbase", "scipd", "scmd")


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
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    args = parser.parse_args()
    table: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}
    for method in args.methods:
        rows: list[dict[str, Any]] = []
        for rate in RATES:
            sets = [f"train.lr={rate}"]
            accuracy = score(method, sets, args.runs, args.seeds)
            rows.append({"set": sets, "source_val_accuracy": accuracy})
            print(method, rows[-1], flush=True)
        chosen = max(rows, key=lambda r: r["source_val_accuracy"])["set"]
        table[method] = {"trials": rows, "chosen": chosen}
        args.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
