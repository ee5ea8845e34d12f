"""`edgedistill run`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import Overrides, Quiet, RecipePath, Runs
from edgedistill.errors import UsageError

if TYPE_CHECKING:
    from edgedistill.runs.result import Run


def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Run folder name [default: RECIPE-TARGET-sSEED].")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps [default: the recipe's].")
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Distil, calibrate, evaluate and report. Started again, it goes on where it stopped.

    RECIPE may also be the folder of a run, or the recipe.toml in it: the run goes on there.
    """
    if name is not None and (Path(name).name != name or name in {".", ".."}):
        raise UsageError(f"--name {name}: give a plain folder name; --runs says where")
    sets = list(overrides or [])
    sets += [] if seed is None else [f"seed={seed}"]
    sets += [] if device is None else [f'device="{device}"']
    finished = ed.run(
        recipe,
        None if name is None else runs / name,
        runs=runs,
        overrides=sets,
        callbacks=[ed.ConsoleCallback(quiet)],
    )
    if finished.rank:
        return
    if finished.before == "finished":
        from edgedistill.cli.tables import print_lines

        print_lines(f"{finished.path}: already finished; see {finished.report}")
    else:
        _print_summary(finished)


def _print_summary(run: "Run") -> None:
    """The table at the end of a run, and where everything lies."""
    from edgedistill.cli.tables import duration, metric_cells, percent, print_lines, print_table

    names = ("accuracy", "h_score", "oracle_h_score", "auroc")
    metrics = run.metrics
    target, teacher = metrics["target"], metrics["teacher"]
    rows = [[f"{metrics['student']}, {metrics['method']}", *metric_cells(target, names)]]
    if teacher:
        rows.append([f"teacher {teacher['name']}, zero-shot", *metric_cells(teacher, names)])
    title = f"Unseen domain {target['domain']}: {target['images_known']} known images"
    title += f", {target['images_unknown']} of unknown classes, %"
    print_table(title, ["", "accuracy", "H deployed", "H oracle", "AUROC"], rows)
    print_lines(
        f"threshold   {metrics['openset']['score']} >= {run.threshold:.4g}: "
        f"keeps {percent(target['known_acceptance'])} % of the known, rejects "
        f"{percent(target['unknown_rejection'])} % of the unknown",
        f"time        {duration(metrics['seconds'])}",
        f"report      {run.report}",
        f"student     {run.path / 'student.safetensors'}",
        f"metrics     {run.path / 'metrics.json'}",
    )
