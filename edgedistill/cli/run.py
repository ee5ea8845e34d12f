"""`edgedistill run`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import Overrides, Quiet, RecipePath, Runs
from edgedistill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

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
    """The figures at the end of a run, where everything lies, and what comes next."""
    import shlex

    from edgedistill.cli.tables import duration, percent, print_lines

    metrics = run.metrics
    if metrics["target"] is not None:
        _print_metrics(metrics)
        rates, images = metrics["target"], ""
    else:
        _print_untested(metrics)
        rates, images = metrics["source_val"], " source-validation images"
    effect = f"keeps {percent(rates['known_acceptance'])} % of the known{images}"
    if rates.get("unknown_rejection") is not None:
        effect += f", rejects {percent(rates['unknown_rejection'])} % of the unknown"
    print_lines(
        f"threshold   {metrics['openset']['score']} >= {run.threshold:.4g}: {effect}",
        f"time        {duration(metrics['seconds'])}",
        f"report      {run.report}",
        f"student     {run.path / 'student.safetensors'}",
        f"metrics     {run.path / 'metrics.json'}",
        f"next        edgedistill export {shlex.quote(str(run.path))}",
    )


def _print_metrics(metrics: "Mapping[str, Any]") -> None:
    """The table of a run that was tested on labelled images."""
    from edgedistill._utils.tested_on import tested_on
    from edgedistill.cli.tables import metric_cells, print_table

    target, teacher = metrics["target"], metrics["teacher"]
    columns = {"accuracy": "accuracy", "known_acceptance": "known keep rate"}
    if target["images_unknown"]:
        columns = {
            "accuracy": "accuracy",
            "h_score": "H deployed",
            "oracle_h_score": "H oracle",
            "auroc": "AUROC",
        }
    rows = [[f"{metrics['student']}, {metrics['method']}", *metric_cells(target, list(columns))]]
    start = (metrics.get("start") or {}).get("target")
    if start:
        rows.append(["start weights, no training", *metric_cells(start, list(columns))])
    if teacher:
        rows.append(
            [f"teacher {teacher['name']}, zero-shot", *metric_cells(teacher, list(columns))]
        )
    words = tested_on(metrics)
    title = f"{words[0].upper()}{words[1:]}: {target['images_known']} known images"
    title += f", {target['images_unknown'] or 'none'} of unknown classes, %"
    print_table(title, ["", *columns.values()], rows)


def _print_untested(metrics: "Mapping[str, Any]") -> None:
    """The lines of a run without labelled test images."""
    from edgedistill._utils.tested_on import tested_on
    from edgedistill.cli.tables import percent, print_lines

    source, unlabelled = metrics["source_val"], metrics.get("unlabelled")
    print_lines(
        f"validation  {percent(source['accuracy'])} % right, {metrics['student']}, "
        f"{metrics['method']}"
    )
    start = metrics.get("start")
    if start:
        print_lines(
            f"untrained   {percent(start['source_val']['accuracy'])} % right, start weights, no "
            "training"
        )
    if unlabelled is None:
        print_lines(
            "tested on   no image: none is given or held out (data.target, data.test_fraction)"
        )
    else:
        print_lines(
            f"answered    {unlabelled['images']} {tested_on(metrics)}: "
            f"{percent(unlabelled['acceptance'])} % accepted; without labels nothing says how many "
            "answers are right"
        )
