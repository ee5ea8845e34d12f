"""Accuracy against the number of cached views: where more views stop to matter.

    python -m benchmarks.speed.view_counts                 # the five settings, three seeds
    python -m benchmarks.speed.view_counts --jobs 2        # two runs at a time, cores shared
    python -m benchmarks.speed.view_counts recipes/resnet18_scipd.toml --seeds 0 1 2 3 4

Runs `edgedistill run RECIPE --set views.count=N --seed S` for every N and S; finished runs are
not repeated, unfinished ones go on. 0 views asks the teacher in every step and never shows the
same view twice: it is what the others are compared with, seed by seed. Another recipe than the
default has runs and results of its own: runs/view_counts-NAME, results/view_counts-NAME.json.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.speed.measuring import record
from benchmarks.speed.tables import RESULTS, Shown, show

RECIPE = Path(__file__).parents[2] / "recipes" / "mobilenet_scipd.toml"
MEASURES = ("accuracy", "h_score", "auroc", "source_val")


def one_run(options: argparse.Namespace, views: int, seed: int) -> dict[str, float]:
    """The metrics of one run, made now if it is not finished."""
    recipe, runs, name = options.recipe, options.runs, f"views{views}-s{seed}"
    sets = [w for change in (f"views.count={views}", *options.sets) for w in ("--set", change)]
    command = ["run", str(recipe), *sets, "--seed", str(seed), "--name", name, "--runs", str(runs)]
    full = [sys.executable, "-m", "edgedistill", *command, "--quiet"]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // options.jobs))}
    environment = os.environ | (threads if options.jobs > 1 else {})
    subprocess.run(full, check=True, stdout=subprocess.DEVNULL, env=environment)
    metrics: Mapping[str, Any] = json.loads((runs / name / "metrics.json").read_text())
    return {
        **{key: metrics["target"][key] for key in MEASURES[:3]},
        "source_val": metrics["source_val"]["accuracy"],
        "training_seconds": metrics["training_seconds"],
    }


def table(recipe: Path, results: Mapping[int, Mapping[int, Mapping[str, float]]]) -> Shown:
    """Means over seeds, and differences to the first number of views, seed by seed."""
    base = next(iter(results.values()))
    rows = []
    for views, by_seed in results.items():
        cells: list[object] = [_called(views)]
        for measure in MEASURES:
            values = [100 * metrics[measure] for metrics in by_seed.values()]
            spread = stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{mean(values):.1f} ± {spread:.1f}")
        paired = [100 * (by_seed[s]["accuracy"] - base[s]["accuracy"]) for s in by_seed]
        cells.append(f"{mean(paired):+.1f} ({min(paired):+.1f} to {max(paired):+.1f})")
        rows.append(cells)
    return Shown(
        f"{recipe.stem}: {len(base)} seeds, %, mean ± standard deviation",
        [
            *["views", "accuracy", "H deployed", "AUROC", "source validation"],
            f"accuracy over {_called(next(iter(results)))}",
        ],
        rows,
    )


def places(recipe: Path) -> tuple[Path, Path]:
    """Default folder of a recipe's runs and results."""
    name = "view_counts" if recipe.stem == RECIPE.stem else f"view_counts-{recipe.stem}"
    return Path("runs") / name, RESULTS / f"{name}.json"


def _called(views: int) -> str:
    return str(views) if views else "on the fly"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", type=Path, nargs="?", default=RECIPE)
    parser.add_argument("--views", type=int, nargs="+", default=[0, 4, 8, 16, 32])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    parser.add_argument("--runs", type=Path, help="default: runs/view_counts[-NAME]")
    parser.add_argument("--out", type=Path, help="default: results/view_counts[-NAME].json")
    options = parser.parse_args()
    runs_here, results_here = places(options.recipe)
    options.runs, options.out = options.runs or runs_here, options.out or results_here
    results: dict[int, dict[int, dict[str, float]]] = {views: {} for views in options.views}
    # Seeds outside: whoever stops early has whole comparisons.
    pool = ThreadPoolExecutor(options.jobs)
    pairs = [(views, seed) for seed in options.seeds for views in options.views]
    runs = {pair: pool.submit(one_run, options, *pair) for pair in pairs}
    try:
        for seed in options.seeds:
            for views in options.views:
                results[views][seed] = runs[views, seed].result()
            shown = table(options.recipe, results)
            record(options.out, torch.device("cpu"), vars(options), results, [shown])
    finally:
        pool.shutdown(cancel_futures=True)
    show(shown)


if __name__ == "__main__":
    main()
