"""The results table: methods x targets x seeds of the embedded benchmark, from the shipped recipes.

Runs what is not finished yet, writes every number to a JSON file and renders the table into
docs/results.md and README.md, between `<!-- results -->` marks. Nothing there is typed by hand.

    python benchmarks/emoji/results.py
    python benchmarks/emoji/results.py --finished   # only collect the runs that are finished
    python benchmarks/emoji/results.py --render     # only the tables, from the JSON
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.display import Display
from edgedistill.pipeline import run
from edgedistill.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("results.json")
METHODS = ("erm", "kd", "clipbase", "scipd", "scmd")
TARGETS = ("line", "openmoji")
SEEDS = (0, 1, 2)
COLUMNS = {
    "accuracy": "accuracy",
    "h_score": "H deployed",
    "oracle_h_score": "H oracle",
    "best_h_score": "H best",
    "auroc": "AUROC",
    "known_acceptance": "known kept",
    "unknown_rejection": "unknown rejected",
}
MARK = "<!-- results -->"
TUNING = Path(__file__).with_name("tuning.json")
TUNING_MARK = "<!-- tuning -->"


def measure(runs: Path, finished: bool) -> list[dict[str, Any]]:
    """One row of metrics per method, target and seed; finished runs are read, not repeated.

    With `finished`, a method's missing runs are left out, and with them their target's seed, so
    that all methods of a target are averaged over the same seeds.
    """
    rows: list[dict[str, Any]] = []
    for seed in SEEDS:
        for target in TARGETS:
            for method in METHODS:
                path = ROOT / "recipes" / f"mobilenet_{method}.toml"
                recipe = load_recipe(path, [f'data.target="{target}"', f"seed={seed}"])
                path = runs / f"{method}-{target}-s{seed}"
                if finished and not (path / "metrics.json").exists():
                    rows = [r for r in rows if (r["target"], r["seed"]) != (target, seed)]
                    break
                metrics, _ = run(recipe, path, Display(quiet=True))
                row = {
                    "method": method,
                    "target": target,
                    "seed": seed,
                    "score": metrics["openset"]["score"],
                    "source_val_accuracy": metrics["source_val"]["accuracy"],
                    **{key: metrics["target"][key] for key in COLUMNS},
                    "teacher": {key: metrics["teacher"][key] for key in COLUMNS},
                    "seconds": metrics["seconds"],
                }
                rows.append(row)
                shown = {k: round(row[k], 3) for k in ("accuracy", "h_score", "auroc")}
                print(method, target, seed, shown, f"{row['seconds']:.0f} s", flush=True)
    return rows


def cell(values: list[float]) -> str:
    """Mean and sample standard deviation, per cent."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def table(rows: list[dict[str, Any]], target: str, columns: dict[str, str]) -> str:
    here = [r for r in rows if r["target"] == target]
    seeds = len({r["seed"] for r in here})
    lines = [
        f"| target `{target}`, {seeds} seeds | score | {' | '.join(columns.values())} |",
        f"|---|---|{'---:|' * len(columns)}",
    ]
    for method in METHODS:
        of = [r for r in here if r["method"] == method]
        cells = [cell([r[key] for r in of]) for key in columns]
        lines.append(f"| {method} | `{of[0]['score']}` | {' | '.join(cells)} |")
    teacher = here[0]["teacher"]
    cells = [f"{100 * teacher[key]:.1f}" for key in columns]
    lines.append(f"| *teacher, zero-shot* | `max_cosine` | {' | '.join(cells)} |")
    return "\n".join(lines)


def render(rows: list[dict[str, Any]]) -> None:
    short = {k: COLUMNS[k] for k in ("accuracy", "h_score", "oracle_h_score", "auroc")}
    for name, columns in (("docs/results.md", COLUMNS), ("README.md", short)):
        path = ROOT / name
        before, _, after = path.read_text(encoding="utf-8").split(MARK)
        tables = "\n\n".join(table(rows, target, columns) for target in TARGETS)
        path.write_text(f"{before}{MARK}\n{tables}\n{MARK}{after}", encoding="utf-8")


def render_tuning(tuning: dict[str, Any]) -> None:
    """The trials of tune.py, chosen ones in bold, into docs/results.md."""
    rates = [trial["lr"] for trial in next(iter(tuning.values()))["trials"]]
    lines = [
        f"| method | {' | '.join(f'lr {r:g}' for r in rates)} | chosen score | acceptance |",
        f"|---|{'---:|' * len(rates)}---|---:|",
    ]
    for method in METHODS:
        chosen, cells = tuning[method]["chosen"], []
        for trial in tuning[method]["trials"]:
            best = max(row["h_score"] for row in trial["settings"])
            text = f"{100 * best:.1f}"
            text = f"**{text}**" if trial["lr"] == chosen["lr"] else text
            cells.append(f"{text} ({100 * trial['source_val_accuracy']:.1f})")
        lines.append(
            f"| {method} | {' | '.join(cells)} | `{chosen['score']}` | {chosen['acceptance']} |"
        )
    path = ROOT / "docs/results.md"
    before, _, after = path.read_text(encoding="utf-8").split(TUNING_MARK)
    table = "\n".join(lines)
    path.write_text(f"{before}{TUNING_MARK}\n{table}\n{TUNING_MARK}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/results"))
    parser.add_argument("--finished", action="store_true", help="collect finished runs only")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    args = parser.parse_args()
    if not args.render:
        RECORD.write_text(json.dumps(measure(args.runs, args.finished), indent=1) + "\n")
    render(json.loads(RECORD.read_text()))
    render_tuning(json.loads(TUNING.read_text()))


if __name__ == "__main__":
    main()
