"""Run a plan: what is finished stays, what fails is tried once more, every run is one line."""

import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from statistics import fmean

from filelock import FileLock, Timeout

from edgedistill.atomic import write_text
from edgedistill.errors import EdgeDistillError
from edgedistill.recipe import to_toml
from edgedistill.sweep.engines import Engine, Job, Outcome
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun

Command = Callable[[SweepFolder, PlannedRun], tuple[str, ...]]
Say = Callable[[str], None]
_ATTEMPTS = 2


def run_command(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
    """The process of one run."""
    python = (sys.executable, "-m", "edgedistill", "run", str(folder.recipe(run.name)))
    return (*python, "--name", run.name, "--runs", str(folder.runs), "--quiet")


def drive(
    plan: Plan,
    folder: SweepFolder,
    engine: Engine,
    at_once: int,
    say: Say,
    collect: Callable[[], None],
    command: Command = run_command,
) -> dict[str, str]:
    """Run what is not finished.

    Args:
        plan: the runs.
        folder: where everything goes.
        engine: what runs the processes.
        at_once: how many at a time.
        say: prints a line.
        collect: called after every finished run, to bring the results up to date.
        command: the process of a run.

    Returns:
        Name -> what went wrong, of every run that failed twice.

    Raises:
        EdgeDistillError: the folder holds other runs, is in use, or cannot be written.
    """
    refuse_other_recipes(folder, plan)
    try:
        for sub in ("recipes", "logs", "runs"):
            (folder.path / sub).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.path / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise EdgeDistillError(
            f"{folder.path}: another sweep is at work here; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise EdgeDistillError(
            f"{folder.path}: cannot be written: {error.strerror}; choose another --out"
        ) from error
    try:
        for run in plan.runs:
            write_text(folder.recipe(run.name), to_toml(run.recipe))
        return _attempts(plan, folder, engine, at_once, say, collect, command)
    finally:
        lock.release()


def estimate(pending: Iterable[PlannedRun], seconds: dict[str, float], plan: Plan) -> float | None:
    """Seconds that runs will take one after the other, from those of finished runs.

    A run is like the finished ones of its method and student, or else like all of them.
    """
    if not seconds:
        return None
    alike: dict[tuple[str, str], list[float]] = {}
    for run in plan.runs:
        if run.name in seconds:
            alike.setdefault(_kind(run), []).append(seconds[run.name])
    everything = fmean(seconds.values())
    return sum(fmean(alike[_kind(run)]) if _kind(run) in alike else everything for run in pending)


def spoken(seconds: float) -> str:
    """`40 s`, `12 min` or `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _attempts(
    plan: Plan,
    folder: SweepFolder,
    engine: Engine,
    at_once: int,
    say: Say,
    collect: Callable[[], None],
    command: Command,
) -> dict[str, str]:
    runs = {run.name: run for run in plan.runs}
    seconds = finished_seconds(plan, folder)
    failed: dict[str, str] = {}
    for attempt in range(_ATTEMPTS):
        pending = [name for name in runs if name not in seconds]
        failed = {}
        jobs = [
            Job(name, command(folder, runs[name]), folder.run(name), folder.log(name))
            for name in pending
        ]

        def waiting(name: str) -> None:
            say(f"{name}: another process is at work on it; waiting for that one")

        with closing(engine(jobs, at_once, waiting)) as outcomes:
            for outcome in outcomes:
                pending.remove(outcome.name)
                metrics = folder.metrics(outcome.name) if outcome.status == 0 else None
                if metrics is None:
                    failed[outcome.name] = _reason(outcome, folder.log(outcome.name))
                    again = "; tried once more at the end" if attempt + 1 < _ATTEMPTS else ""
                    say(f"{outcome.name}: FAILED, {failed[outcome.name]}{again}")
                    continue
                seconds[outcome.name] = outcome.seconds
                collect()
                left = estimate([runs[n] for n in (*pending, *failed)], seconds, plan)
                rest = f"; about {spoken(left / at_once)} left" if left else ""
                say(
                    f"{len(seconds)}/{len(runs)} {outcome.name}: {_scores(metrics)}, "
                    f"{spoken(outcome.seconds)}{rest}"
                )
        if not failed:
            break
    return failed


def finished_seconds(plan: Plan, folder: SweepFolder) -> dict[str, float]:
    """Name -> seconds of every run that is finished."""
    return {
        run.name: float(metrics["seconds"])
        for run in plan.runs
        if (metrics := folder.metrics(run.name)) is not None
    }


def _kind(run: PlannedRun) -> tuple[str, str]:
    return run.recipe.method.name, run.recipe.student.model


def _scores(metrics: dict[str, object]) -> str:
    target = metrics["target"]
    assert isinstance(target, dict)
    names = {"accuracy": "accuracy", "h_score": "H deployed", "oracle_h_score": "H oracle"}
    shown = [
        f"{text} {100 * target[key]:.1f}"
        for key, text in names.items()
        if target.get(key) is not None
    ]
    return ", ".join(shown)


def _reason(outcome: Outcome, log: Path) -> str:
    """Why a run failed, from its exit status and the last line of its log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    said = next((line for line in reversed(lines) if line.strip()), "")
    said = said.removeprefix("edgedistill: ")
    if outcome.status < 0:
        try:
            name = signal.Signals(-outcome.status).name
        except ValueError:
            name = f"signal {-outcome.status}"
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{memory}, see {log}"
    return f"exit status {outcome.status}: {said or 'no word'}, see {log}"
