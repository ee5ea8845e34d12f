"""The commands that need the training extra."""

from pathlib import Path
from typing import Any

from rich.console import Console

from edgedistill._utils.console import Display
from edgedistill.cli.tables import (
    duration,
    metric_cells,
    percent,
    print_json,
    print_table,
)
from edgedistill.errors import Interrupted, UsageError
from edgedistill.recipe import load_recipe
from edgedistill.run.folder import RunFolder
from edgedistill.run.pipeline import run, teacher_scores
from edgedistill.train.context import Stopped
from edgedistill.train.device import enough_memory
from edgedistill.train.distributed import init_distributed


def run_recipe(path: Path, sets: list[str], name: str | None, runs: Path, quiet: bool) -> None:
    """`edgedistill run`."""
    with init_distributed() as processes:
        recipe = load_recipe(path, sets)
        chosen = name or f"{path.stem}-{recipe.data.target}-s{recipe.seed}"
        if Path(chosen).name != chosen or chosen in {".", ".."}:
            raise UsageError(f"--name {chosen}: give a plain folder name; --runs says where")
        folder = RunFolder(runs / chosen)
        try:
            metrics, state = run(
                recipe, folder.path, Display(quiet or processes.rank > 0), processes
            )
        except (Stopped, Interrupted) as stop:
            raise Interrupted(
                f"{folder.path}: {str(stop) or 'interrupted'}; the same command goes on from there"
            ) from None
        if processes.rank:
            return
        if state == "finished":
            print(f"{folder.path}: already finished; see {folder.report}")
        else:
            print_summary(metrics, folder)


def print_summary(metrics: dict[str, Any], folder: RunFolder) -> None:
    """The table at the end of a run, and where everything lies."""
    names = ("accuracy", "h_score", "oracle_h_score", "auroc")
    target, teacher = metrics["target"], metrics["teacher"]
    openset = metrics["openset"]
    rows = [[f"{metrics['student']}, {metrics['method']}", *metric_cells(target, names)]]
    if teacher:
        rows.append([f"teacher {teacher['name']}, zero-shot", *metric_cells(teacher, names)])
    title = f"Unseen domain {target['domain']}: {target['images_known']} known images"
    title += f", {target['images_unknown']} of unknown classes, %"
    print_table(title, ["", "accuracy", "H deployed", "H oracle", "AUROC"], rows)
    limit = openset["threshold"]
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"threshold   {openset['score']} >= {'-inf' if limit is None else format(limit, '.4g')}: "
        f"keeps {percent(target['known_acceptance'])} % of the known, rejects "
        f"{percent(target['unknown_rejection'])} % of the unknown"
    )
    console.print(f"time        {duration(metrics['seconds'])}")
    console.print(f"report      {folder.report}")
    console.print(f"student     {folder.student}")
    console.print(f"metrics     {folder.metrics}")


def evaluate_teacher(path: Path, sets: list[str], as_json: bool) -> None:
    """`edgedistill teacher eval`."""
    recipe = load_recipe(path, sets)
    with enough_memory(), Display().active():
        rows = teacher_scores(recipe)
    if as_json:
        print_json(rows)
        return
    names = ("accuracy", "auroc", "fpr95")
    cells = [
        [
            f"{row['domain']}{' (target)' if row['target'] else ''}",
            *metric_cells(row, names),
            str(row["images_known"]),
            str(row["images_unknown"]),
        ]
        for row in rows
    ]
    header = ["domain", "accuracy", "AUROC", "FPR95", "known", "unknown"]
    print_table(f"Teacher {recipe.teacher.model}, zero-shot, %", header, cells)
