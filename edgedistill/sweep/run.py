"""The functions `edgedistill.plan_sweep` and `edgedistill.run_sweep`: a grid of runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.errors import Interrupted
from edgedistill.sweep.check import check_data
from edgedistill.sweep.collect import write_pictures, write_results
from edgedistill.sweep.deployment import bench_series, export_runs, write_files
from edgedistill.sweep.drive import drive, finished_seconds
from edgedistill.sweep.engines import Request, find_engine
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, chosen, make_plan
from edgedistill.sweep.results import Row


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep that has not started: its runs, and what is known of them.

    Attributes:
        plan: every run of the grid.
        runs: those asked for.
        seconds: what each finished run took, by name.
        folder: where everything goes.
        jobs: how many run at a time, None for as many as there is room for.
    """

    plan: Plan
    runs: tuple[PlannedRun, ...]
    seconds: dict[str, float]
    folder: SweepFolder
    jobs: int | None


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes:
        plan: every run of the grid.
        runs: those asked for.
        folder: where everything lies.
        rows: a row of results per run of the grid.
        files: run -> precision -> what its exported file answers; empty where none were asked for.
        bench: times of one run's files for every series, None where none were asked for.
        failed: what went wrong, by the name of each run that failed twice.
        written: pictures and tables.
    """

    plan: Plan
    runs: tuple[PlannedRun, ...]
    folder: SweepFolder
    rows: list[Row]
    files: Mapping[str, Mapping[str, Any]]
    bench: Mapping[str, Any] | None
    failed: dict[str, str]
    written: tuple[Path, ...]


def plan_sweep(
    path: str | Path,
    *,
    engine: str = "local",
    jobs: int | None = None,
    out: str | Path = "sweeps",
    only: Sequence[str] = (),
) -> PlannedSweep:
    """Resolve every recipe of a sweep file, and see which runs are finished; nothing is run.

    Args:
        path: the sweep file (TOML).
        engine: "local" or "ray".
        jobs: runs at a time; when None, 1, or on ray as many as there is room for.
        out: the folder that sweep folders lie in.
        only: runs of the grid to do, as in "seed=0,1"; all when empty.

    Raises:
        RecipeError: the file or a recipe of it is not valid.
        SweepError: the folder holds a sweep of other recipes.
        UsageError: an engine or a run that there is not.
    """
    find_engine(engine)
    plan = make_plan(Path(path))
    folder = SweepFolder(Path(out) / plan.name)
    runs = chosen(plan, list(only))
    refuse_other_recipes(folder, plan)
    at_once = jobs or (None if engine == "ray" else 1)
    return PlannedSweep(plan, runs, finished_seconds(plan, folder), folder, at_once)


def run_sweep(
    path: str | Path,
    *,
    engine: str = "local",
    jobs: int | None = None,
    out: str | Path = "sweeps",
    only: Sequence[str] = (),
    address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> Sweep:
    """Run a grid of recipes and collect tables and pictures; what is finished stays.

    A run that fails is tried once more; the others go on.

    Args:
        path, engine, jobs, out, only: as in `plan_sweep`.
        address: the Ray cluster; RAY_ADDRESS, or one of this machine alone, when None.
        cpus, gpus: of a node for each run on ray.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises:
        RecipeError, UsageError: as in `plan_sweep`.
        SweepError: as in `plan_sweep`; and data that a run asks for is not there.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on from there.
    """
    open_engine = find_engine(engine)
    planned = plan_sweep(path, engine=engine, jobs=jobs, out=out, only=only)
    plan, runs, folder = planned.plan, planned.runs, planned.folder
    request = Request(address, cpus, gpus)
    files: dict[str, dict[str, Any]] = {}
    with reporting([LoggingCallback()] if callbacks is None else callbacks) as active:
        check_data([run for run in runs if run.name not in planned.seconds], active.on_note)
        try:
            with open_engine(
                request, lambda name, text: active.on_note(f"{name}: {text}")
            ) as start:
                failed = drive(
                    plan,
                    folder,
                    start,
                    planned.jobs,
                    active.on_note,
                    lambda: _collect(plan, folder),
                    caches_first=engine == "ray",
                    chosen=runs,
                )
                rows = write_results(plan, folder)
                written = write_pictures(plan, folder, rows)
                if plan.export:
                    files = export_runs(plan, folder, start, active, planned.jobs)
            bench = None
            if files:
                bench = bench_series(plan, folder, rows, files)
                written += write_files(plan, folder, rows, files, bench)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                f"{folder.path}: stopped; the same command goes on from there"
            ) from None
    return Sweep(plan, runs, folder, rows, files, bench, failed, tuple(written))


def _collect(plan: Plan, folder: SweepFolder) -> None:
    write_results(plan, folder)
