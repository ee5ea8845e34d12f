"""The folder of a sweep.

`recipes/` and `logs/` hold a file per run, `runs/` their run folders, `files/` the results of their
exported files; `results.csv`, `tables.md` and the plots are written again whenever a run or the
sweep ends.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.errors import RunFolderError, SweepError
from edgedistill.recipe import differences, load_recipe
from edgedistill.runs.folder import RunFolder, has_trained
from edgedistill.sweep.plan import Plan


@dataclass(frozen=True)
class SweepFolder:
    """Paths of a sweep's files."""

    path: Path

    @property
    def runs(self) -> Path:
        """Folder of the run folders."""
        return self.path / "runs"

    @property
    def results(self) -> Path:
        """CSV with a row per run."""
        return self.path / "results.csv"

    @property
    def tables(self) -> Path:
        """Markdown tables of means over replicates."""
        return self.path / "tables.md"

    @property
    def files(self) -> Path:
        """Folder of the recorded results of exported files."""
        return self.path / "files"

    def run(self, name: str) -> Path:
        """Folder of a run."""
        return self.runs / name

    def recipe(self, name: str) -> Path:
        """Recipe file of a run."""
        return self.path / "recipes" / f"{name}.toml"

    def log(self, name: str) -> Path:
        """Log of a job: a run's, or a cache's."""
        return self.path / "logs" / f"{name}.log"

    def metrics(self, name: str) -> dict[str, Any] | None:
        """A finished run's metrics, None for any other. Raises RunFolderError if damaged."""
        path = self.run(name) / "metrics.json"
        if not path.exists():
            return None
        try:
            metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            target = metrics["target"]
            _ = target is None or target["domain"], metrics["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            raise RunFolderError(
                f"{path}: not the metrics of a run; delete the run's folder and start the sweep "
                "again"
            ) from None
        return metrics

    def selection_accuracy(self, name: str) -> float | None:
        """Best source validation of a run's history, the mean over the source domains."""
        try:
            with open(self.run(name) / "history.csv", encoding="utf-8", newline="") as file:
                accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
        except (OSError, ValueError, KeyError):
            return None
        return max(accuracies, default=None)


def refuse_other_recipes(folder: SweepFolder, plan: Plan) -> None:
    """Raise SweepError when a run of the same name and another recipe is there already."""
    for run in plan.runs:
        path = folder.run(run.name) / "recipe.toml"
        if not path.exists():
            continue
        old = load_recipe(path).model_copy(update={"device": run.recipe.device})
        changed = differences(old, run.recipe)
        if changed and has_trained(RunFolder(path.parent)):
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise SweepError(
                f"{folder.run(run.name)}: holds a run of another recipe ({changed[0]}{more}); "
                "choose another --out, or delete the folder"
            )
