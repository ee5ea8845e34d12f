"""`edgedistill sweep`: a grid of runs, from the plan to the tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.cli.tables import print_lines, print_table

if TYPE_CHECKING:
    from edgedistill.sweep.run import PlannedSweep, Sweep

_SHOWN = ("accuracy", "h_score", "oracle_h_score", "auroc")
_KINDS = {".png": "picture", ".json": "files", ".md": "tables"}
_TITLES = {"h_score": "H deployed", "oracle_h_score": "H oracle", "auroc": "AUROC"}


def sweep(
    path: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
    engine: Annotated[str, typer.Option(help="What runs the processes: local or ray.")] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time [default: 1; on ray, as many as have room]."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to use [default: RAY_ADDRESS, or one of this machine alone]."
        ),
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(min=0, help="CPUs of a node for each run on ray [default: 1].")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs for each run on ray [default: 1 if the cluster has any]."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that sweep folders lie in.")] = Path("sweeps"),
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=VALUE", help="Do these runs of the grid, as in seed=0,1."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the plan and end.")] = False,
) -> int:
    """Run a grid of recipes and collect tables and pictures. Started again, it goes on."""
    planned = ed.plan_sweep(path, engine=engine, jobs=jobs, out=out, only=only or ())
    print_lines(*_plan_lines(planned))
    if dry:
        for run in planned.runs:
            done = "  finished" if run.name in planned.seconds else ""
            print_lines(f"  {run.name}{done}")
        return 0
    finished = ed.run_sweep(
        path,
        engine=engine,
        jobs=jobs,
        out=out,
        only=only or (),
        address=address,
        cpus=cpus,
        gpus=gpus,
        callbacks=[ed.ConsoleCallback()],
    )
    _print_results(finished)
    return int(bool(finished.failed))


def _print_results(sweep: "Sweep") -> None:
    from edgedistill.sweep.deployment import columns, lines

    _print_means(sweep)
    if sweep.files:
        body = lines(sweep.plan, sweep.rows, sweep.files, sweep.bench)
        print_table("Files, mean over target domains, %", columns(sweep.bench), body)
    print_lines(
        f"results   {sweep.folder.results}",
        f"tables    {sweep.folder.tables}",
        *(f"{_KINDS[path.suffix]:<9} {path}" for path in sweep.written),
        *(f"failed    {name}: {reason}" for name, reason in sweep.failed.items()),
    )
    if sweep.failed:
        count = f"{len(sweep.failed)} of {len(sweep.runs)}"
        print_lines(f"{count} runs failed twice; start again to retry")


def _print_means(sweep: "Sweep") -> None:
    from edgedistill.sweep.results import format_mean_std, make_table

    tables = {metric: make_table(sweep.plan, sweep.rows, metric) for metric in _SHOWN}
    shown = {metric: table for metric, table in tables.items() if table.means}
    if not shown:
        return
    columns = ["", *(_TITLES.get(metric, metric) for metric in shown)]
    started = {name for table in shown.values() for name, _ in table.cells}
    cells = [
        [name, *(format_mean_std(table.means.get(name)) for table in shown.values())]
        for name in tables["accuracy"].series
        if name in started
    ]
    print_table("Mean over target domains, %", columns, cells)


def _plan_lines(planned: "PlannedSweep") -> list[str]:
    """The lines that describe a sweep before it starts."""
    from edgedistill.sweep.drive import estimate, time_left

    plan, runs, seconds, jobs = planned.plan, planned.runs, planned.seconds, planned.jobs
    sizes = [f"{len(values)} {axis}" for axis, values in plan.axes.items()]
    lines = [f"{plan.name}: {len(plan.runs)} runs{' = ' if sizes else ''}{' x '.join(sizes)}"]
    for axis, values in plan.axes.items():
        lines.append(f"  {axis}: {', '.join(map(str, values))}")
    teacher = []
    if plan.view_caches:
        passes = "pass" if plan.view_caches == 1 else "passes"
        teacher.append(f"{plan.view_caches} cached {passes} over the images")
    if plan.on_the_fly:
        teacher.append(f"{plan.on_the_fly} runs ask it at every step")
    lines.append(f"teacher: {', '.join(teacher) or 'not needed'}")
    if plan.export:
        precisions = "fp32 and int8" if plan.export.int8 else "fp32"
        lines.append(
            f"files: {precisions}{', timed for every series' if plan.export.bench else ''}"
        )
    if len(runs) < len(plan.runs):
        lines.append(f"only: {len(runs)} of them")
    pending = [run for run in runs if run.name not in seconds]
    left = estimate(pending, seconds, plan)
    if not pending:
        time = f"all {'of these' if len(runs) < len(plan.runs) else 'runs'} are finished"
    elif left is None:
        time = "known after the first runs"
    else:
        time = f"{time_left(left, jobs)} for the {len(pending)} runs not finished"
    at_once = f"{jobs} at a time" if jobs else "as many at a time as there is room for"
    lines.append(f"time: {time}, {at_once}")
    return lines
