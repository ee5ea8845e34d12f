"""`edgedistill sweep`: a grid of runs, from the plan to the tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from edgedistill._utils.console import Display
from edgedistill.cli.tables import print_table
from edgedistill.errors import Interrupted
from edgedistill.sweep.check import check_data
from edgedistill.sweep.collect import write_pictures, write_results
from edgedistill.sweep.deployment import bench_series, columns, export_runs, lines, write_files
from edgedistill.sweep.drive import drive, estimate, finished_seconds, time_left
from edgedistill.sweep.engines import Request, find_engine
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, chosen, make_plan
from edgedistill.sweep.results import Row, make_table, percent

_SHOWN = ("accuracy", "h_score", "oracle_h_score", "auroc")
_KINDS = {".png": "picture", ".json": "files", ".md": "tables"}
_TITLES = {"h_score": "H deployed", "oracle_h_score": "H oracle", "auroc": "AUROC"}


def run_sweep(
    path: Path,
    engine: str,
    jobs: int | None,
    out: Path,
    dry: bool,
    request: Request,
    only: list[str],
) -> int:
    """Returns 0 when every run asked for is finished, 1 when some failed twice."""
    open_engine = find_engine(engine)
    on_cluster = engine == "ray"
    jobs = jobs or (None if on_cluster else 1)
    plan = make_plan(path)
    runs = chosen(plan, only)
    folder = SweepFolder(out / plan.name)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    refuse_other_recipes(folder, plan)
    seconds = finished_seconds(plan, folder)
    for line in plan_lines(plan, runs, seconds, jobs):
        console.print(line)
    if dry:
        for run in runs:
            console.print(f"  {run.name}{'  finished' if run.name in seconds else ''}")
        return 0
    display = Display()
    with display.active():
        check_data([run for run in runs if run.name not in seconds], display.note)
    try:
        with open_engine(request, lambda name, text: display.note(f"{name}: {text}")) as start:
            failed = drive(
                plan,
                folder,
                start,
                jobs,
                display.note,
                lambda: _collected(plan, folder),
                caches_first=on_cluster,
                chosen=runs,
            )
            rows = write_results(plan, folder)
            written = write_pictures(plan, folder, rows)
            _print_means(plan, rows)
            files = export_runs(plan, folder, start, display, jobs) if plan.export else {}
        if files:
            written += _timed(plan, folder, rows, files)
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"{folder.path}: stopped; the same command goes on from there") from None
    console.print(f"results   {folder.results}")
    console.print(f"tables    {folder.tables}")
    for path in written:
        console.print(f"{_KINDS[path.suffix]:<9} {path}")
    for name, reason in failed.items():
        console.print(f"failed    {name}: {reason}")
    if failed:
        console.print(f"{len(failed)} of {len(runs)} runs failed twice; start again to retry")
    return 1 if failed else 0


def plan_lines(
    plan: Plan, runs: Sequence[PlannedRun], seconds: dict[str, float], jobs: int | None
) -> list[str]:
    """What a sweep is about to do, in words."""
    sizes = [f"{len(values)} {axis}" for axis, values in plan.axes.items()]
    told = [f"{plan.name}: {len(plan.runs)} runs{' = ' if sizes else ''}{' x '.join(sizes)}"]
    for axis, values in plan.axes.items():
        told.append(f"  {axis}: {', '.join(map(str, values))}")
    teacher = []
    if plan.view_caches:
        one = plan.view_caches == 1
        teacher.append(f"{plan.view_caches} cached pass{'' if one else 'es'} over the images")
    if plan.on_the_fly:
        teacher.append(f"{plan.on_the_fly} runs ask it at every step")
    told.append(f"teacher: {', '.join(teacher) or 'not needed'}")
    if plan.export:
        made = "fp32 and int8" if plan.export.int8 else "fp32"
        told.append(f"files: {made}{', timed for every series' if plan.export.bench else ''}")
    if len(runs) < len(plan.runs):
        told.append(f"only: {len(runs)} of them")
    pending = [run for run in runs if run.name not in seconds]
    left = estimate(pending, seconds, plan)
    if not pending:
        time = f"all {'of these' if len(runs) < len(plan.runs) else 'runs'} are finished"
    elif left is None:
        time = "known after the first runs"
    else:
        time = f"{time_left(left, jobs)} for the {len(pending)} runs not finished"
    at_once = f"{jobs} at a time" if jobs else "as many at a time as there is room for"
    told.append(f"time: {time}, {at_once}")
    return told


def _timed(
    plan: Plan, folder: SweepFolder, rows: list[Row], files: dict[str, dict[str, Any]]
) -> list[Path]:
    """Time what is exported, where that is asked for; returns what was written."""
    bench = bench_series(plan, folder, rows, files)
    head, *body = columns(bench), *lines(plan, rows, files, bench)
    print_table("Files, mean over target domains, %", head, body)
    return list(write_files(plan, folder, rows, files, bench))


def _collected(plan: Plan, folder: SweepFolder) -> None:
    write_results(plan, folder)


def _print_means(plan: Plan, rows: list[Row]) -> None:
    tables = {metric: make_table(plan, rows, metric) for metric in _SHOWN}
    shown = {metric: table for metric, table in tables.items() if table.means}
    if not shown:
        return
    columns = ["", *(_TITLES.get(metric, metric) for metric in shown)]
    begun = {name for table in shown.values() for name, _ in table.cells}
    cells = [
        [name, *(percent(table.means.get(name)) for table in shown.values())]
        for name in tables["accuracy"].series
        if name in begun
    ]
    print_table("Mean over target domains, %", columns, cells)
