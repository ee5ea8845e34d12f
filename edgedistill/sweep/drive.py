"""Execution of a sweep's plan: finished runs are kept, and a failed one is tried once more."""

import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean

from edgedistill._utils.atomic import write_text
from edgedistill._utils.locks import lock
from edgedistill.errors import SweepError
from edgedistill.recipe import to_toml
from edgedistill.sweep.engines import Engine, Job, Notify, Outcome
from edgedistill.sweep.folder import SweepFolder, refuse_other_recipes
from edgedistill.sweep.plan import Plan, PlannedRun, one_per_cache

Command = Callable[[SweepFolder, PlannedRun], tuple[str, ...]]
PrintLine = Callable[[str], None]
_ATTEMPTS = 2


def command_of_run(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
    """The process of one run."""
    python = (sys.executable, "-m", "edgedistill", "run", str(folder.recipe(run.name)))
    return (*python, "--name", run.name, "--runs", str(folder.runs), "--quiet")


def cache_command(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
    """The process that fills the caches of a run."""
    return (sys.executable, "-m", "edgedistill", "cache", "build", str(folder.recipe(run.name)))


def drive(
    plan: Plan,
    folder: SweepFolder,
    engine: Engine,
    at_once: int | None,
    print_line: PrintLine,
    collect: Callable[[], None],
    command: Command = command_of_run,
    caches_first: bool = False,
    chosen: Sequence[PlannedRun] | None = None,
) -> dict[str, str]:
    """Run what is not finished.

    Args:
        plan: the runs.
        folder: the sweep's folder.
        engine: runs the processes.
        at_once: how many at a time; None for as many as there is room for.
        print_line: prints a line of text.
        collect: called after every finished run, to bring the results up to date.
        command: the process of a run.
        caches_first: fill what runs share before the first one, each by one process.
        chosen: the runs of the plan to do, by default all.

    Returns:
        Name -> reason, of every run that failed twice.

    Raises:
        SweepError: the folder holds other runs, is in use, or cannot be written.
    """
    refuse_other_recipes(folder, plan)
    runs = plan.runs if chosen is None else chosen
    advice = "choose another --out"
    try:
        for sub in ("recipes", "logs", "runs"):
            (folder.path / sub).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"{folder.path}: cannot be written: {error.strerror}; {advice}") from error
    with lock(folder.path / ".lock", SweepError, advice, wait=False) as held:
        if not held:
            raise SweepError(
                f"{folder.path}: another sweep is at work here; wait for it, or {advice}"
            )
        for run in plan.runs:
            write_text(folder.recipe(run.name), to_toml(run.recipe))
        if caches_first:
            _fill_caches(runs, folder, engine, at_once, print_line)
        return _attempts(plan, runs, folder, engine, at_once, print_line, collect, command)


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


def format_duration(seconds: float) -> str:
    """`40 s`, `12 min` or `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _fill_caches(
    runs: Sequence[PlannedRun],
    folder: SweepFolder,
    engine: Engine,
    at_once: int | None,
    print_line: PrintLine,
) -> None:
    pending = [run for run in runs if folder.metrics(run.name) is None]
    shared = {f"cache-of-{run.name}": run for run in one_per_cache(pending)}
    jobs = [
        Job(name, cache_command(folder, run), folder.run(run.name), folder.log(name))
        for name, run in shared.items()
    ]
    with closing(engine(jobs, at_once, _notify(print_line))) as outcomes:
        for outcome in outcomes:
            data = shared[outcome.name].recipe.data.dataset
            if outcome.status == 0:
                print_line(f"caches of {data}: complete, {format_duration(outcome.seconds)}")
            else:
                # The runs meet the same fault, and are tried again.
                why = reason(outcome, folder.log(outcome.name))
                print_line(f"caches of {data}: FAILED, {why}; the runs fill them instead")


def _notify(print_line: PrintLine) -> Notify:
    return lambda name, text: print_line(f"{name}: {text}")


def time_left(seconds: float, at_once: int | None) -> str:
    """`about 12 min`, or how much work that is where it is not known how many share it."""
    if at_once is None:
        return f"about {format_duration(seconds)} of work"
    return f"about {format_duration(seconds / at_once)}"


def _attempts(
    plan: Plan,
    chosen: Sequence[PlannedRun],
    folder: SweepFolder,
    engine: Engine,
    at_once: int | None,
    print_line: PrintLine,
    collect: Callable[[], None],
    command: Command,
) -> dict[str, str]:
    runs = {run.name: run for run in chosen}
    seconds = finished_seconds(plan, folder)
    failed: dict[str, str] = {}
    for attempt in range(_ATTEMPTS):
        pending = [name for name in runs if name not in seconds]
        failed = {}
        jobs = [
            Job(name, command(folder, runs[name]), folder.run(name), folder.log(name))
            for name in pending
        ]
        with closing(engine(jobs, at_once, _notify(print_line))) as outcomes:
            for outcome in outcomes:
                pending.remove(outcome.name)
                metrics = folder.metrics(outcome.name) if outcome.status == 0 else None
                if metrics is None:
                    failed[outcome.name] = reason(outcome, folder.log(outcome.name))
                    retry_note = "; tried once more at the end" if attempt + 1 < _ATTEMPTS else ""
                    print_line(f"{outcome.name}: FAILED, {failed[outcome.name]}{retry_note}")
                    continue
                seconds[outcome.name] = outcome.seconds
                collect()
                remaining = estimate([runs[n] for n in (*pending, *failed)], seconds, plan)
                rest = f"; {time_left(remaining, at_once)} left" if remaining else ""
                done = sum(name in seconds for name in runs)
                print_line(
                    f"{done}/{len(runs)} {outcome.name}: {_scores(metrics)}, "
                    f"{format_duration(outcome.seconds)}{rest}"
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
    if target is None:
        source = metrics["source_val"]
        assert isinstance(source, dict)
        return f"accuracy {100 * source['accuracy']:.1f} on source validation, nothing tested"
    assert isinstance(target, dict)
    names = {"accuracy": "accuracy", "h_score": "H deployed", "oracle_h_score": "H oracle"}
    shown = [
        f"{text} {100 * target[key]:.1f}"
        for key, text in names.items()
        if target.get(key) is not None
    ]
    return ", ".join(shown)


def reason(outcome: Outcome, log: Path) -> str:
    """The reason why a job failed: its signal, or exit status and last line of its log."""
    if outcome.why:
        return outcome.why
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    last_line = next((line for line in reversed(lines) if line.strip()), "")
    last_line = last_line.removeprefix("edgedistill: ")
    if outcome.status < 0:
        try:
            name = signal.Signals(-outcome.status).name
        except ValueError:
            name = f"signal {-outcome.status}"
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return f"killed by {name}{memory}, see {log}"
    return f"exit status {outcome.status}: {last_line or 'no word'}, see {log}"
