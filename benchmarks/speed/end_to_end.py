"""The main job from start to report: how long, cold and warm, and where the time goes.

    python -m benchmarks.speed.end_to_end
    git worktree add /tmp/before COMMIT
    python -m benchmarks.speed.end_to_end --before /tmp/before

Cold: an empty cache folder, so that images are drawn, decoded and shown to the teacher. Warm: the
same again with what the first left. `--before` names a checkout of another commit; it takes turns
with this one, on its own copy of the recipe, and its whole time is taken the same way, around the
process.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.speed.measuring import commit, ratios, record
from benchmarks.speed.tables import Shown, results_file, show

HERE = Path(__file__).resolve().parents[2]
STAGES = Path(__file__).with_name("stages.py")
TEMPERATURES = ("cold", "warm")


def one_run(checkout: Path, recipe: Path, work: Path, name: str, sets: list[str]) -> dict[str, Any]:
    """Seconds of a run of a checkout in `work`; by stage where the checkout is this one."""
    seconds = work / f"{name}.json"
    program = [str(STAGES), str(seconds)] if checkout == HERE else ["-m", "edgedistill"]
    changes = [word for change in sets for word in ("--set", change)]
    command = ["run", str(recipe), *changes, "--name", name, "--runs", str(work)]
    environment = {
        **os.environ,
        "EDGEDISTILL_CACHE": str(work / "cache"),
        "PYTHONPATH": str(checkout),
    }
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *program, *command],
        cwd=checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    whole = time.perf_counter() - start
    run = work / name
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    steps = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))["train"]["steps"]
    stages = json.loads(seconds.read_text(encoding="utf-8")) if seconds.exists() else {}
    return {
        "whole": whole,
        "training": metrics["training_seconds"],
        "steps": steps,
        "stages": stages and {**stages, "start and rest": whole - sum(stages.values())},
    }


def stage_table(runs: dict[str, list[dict[str, Any]]], recipe: Path) -> Shown:
    """Median seconds of every stage, cold and warm."""
    rows: list[list[object]] = []
    for stage in runs["cold"][0]["stages"]:
        times = [median(run["stages"].get(stage, 0.0) for run in runs[t]) for t in TEMPERATURES]
        rows.append([stage, *times])
    rows.append(["all", *(median(run["whole"] for run in runs[t]) for t in TEMPERATURES)])
    steps = runs["cold"][0]["steps"]
    title = f"Where the time of {recipe.name} goes, {steps} steps"
    return Shown(title, ["stage", "cold s", "warm s"], rows)


def comparison(
    seconds: dict[str, dict[str, list[dict[str, Any]]]], names: dict[str, str], recipe: Path
) -> Shown:
    """Whole times of both versions, and the ratio of those taken in the same round."""
    rows: list[list[object]] = []
    for temperature in TEMPERATURES:
        whole = {v: [run["whole"] for run in runs[temperature]] for v, runs in seconds.items()}
        for version, runs in seconds.items():
            runs_here = runs[temperature]
            rows.append(
                [
                    temperature,
                    f"{version} ({names[version]})",
                    median(whole[version]),
                    median(run["training"] for run in runs_here),
                    runs_here[0]["steps"],
                    *ratios(whole["before"], whole[version]).values(),
                ]
            )
    columns = ["cache", "version", "s", "of them training", "steps", "times faster", "low", "high"]
    return Shown(f"{recipe.name} from start to report", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "recipe", nargs="?", type=Path, default=Path("recipes/mobilenet_scipd.toml")
    )
    parser.add_argument("--before", type=Path, help="a checkout of an older commit")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=results_file(__file__))
    options = parser.parse_args()
    checkouts = {"now": HERE}
    if options.before:
        checkouts = {"before": options.before.resolve(), **checkouts}
    names = {version: commit(checkout) or checkout.name for version, checkout in checkouts.items()}
    seconds: dict[str, dict[str, list[dict[str, Any]]]] = {
        version: {t: [] for t in TEMPERATURES} for version in checkouts
    }
    for number in range(options.rounds):
        # Who goes first changes from round to round.
        for version in list(checkouts)[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory() as folder:
                for temperature in TEMPERATURES:
                    seconds[version][temperature].append(
                        one_run(
                            checkouts[version],
                            checkouts[version] / options.recipe,
                            Path(folder),
                            temperature,
                            options.sets,
                        )
                    )
        if all(seconds[version]["warm"] for version in checkouts):
            tables = [stage_table(seconds["now"], options.recipe)]
            if options.before:
                tables.append(comparison(seconds, names, options.recipe))
            settings = {**vars(options), "commits": names}
            record(options.out, torch.device("cpu"), settings, seconds, tables)
    for table in tables:
        show(table)


if __name__ == "__main__":
    main()
