"""The function `edgedistill.run`: a recipe in, a finished run out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import Callback, LoggingCallback, RunEnd, reporting
from edgedistill.errors import Interrupted, OutputError
from edgedistill.registries import LOGGERS
from edgedistill.runs.lookup import run_folder_of
from edgedistill.runs.result import Run

if TYPE_CHECKING:
    from edgedistill.recipe import Recipe


def run(
    recipe: str | Path | Recipe | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> Run:
    """Distil, calibrate, evaluate and report; an unfinished run goes on where it stopped.

    Under torchrun, every process calls this with the same arguments.

    Args:
        recipe: a TOML file, a `Recipe`, or its sections as nested dictionaries; also a run folder
            or the recipe.toml in it, which goes on there.
        out: the run folder; RECIPE-TARGET-sSEED in the folder `runs` when None, or RECIPE-sSEED
            without a target, RECIPE being the file's name or else the method's. A finished run of
            the same recipe is only read.
        overrides: fields to change, {"train.lr": 1e-3} or ["train.lr=1e-3"].
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises:
        RecipeError: the recipe is not valid.
        RunFolderError: the folder holds another run, is in use or cannot be written.
        DataError, WeightsError, CacheError, TrainingError: what the recipe names is not there,
            or the training came to nothing.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on from there.

    Examples:
        >>> run = ed.run("recipe.toml", out="runs/a", overrides={"train.lr": 1e-3})
        >>> 0 <= run.metrics["target"]["accuracy"] <= 1
        True
    """
    given = [LoggingCallback()] if callbacks is None else callbacks
    folder = run_folder_of(Path(recipe)) if isinstance(recipe, str | Path) else None
    if folder is not None:
        recipe = folder / "recipe.toml"
        if out is None:
            out = folder
            finished = (folder / "metrics.json").is_file()
            # With nothing to change there is no recipe to compare, and torch is not needed. The
            # processes of torchrun have to meet first.
            if finished and not overrides and "RANK" not in os.environ:
                return _read_finished(folder, given)
    request = None
    if isinstance(recipe, str | Path) and "RANK" not in os.environ:
        with needs_extra("train", "edgedistill.run"):
            from edgedistill.runs.request import read_request
        request = read_request(Path(recipe), overrides)
        where = Path(runs) / request.name if out is None else Path(out)
        finished = request.is_finished(where)
        if folder is not None and where == folder and (folder / "metrics.json").is_file():
            # Its own recipe, with nothing changed that makes another run.
            finished = request.fingerprint == read_request(Path(recipe), ()).fingerprint
        if finished:
            return _read_finished(where, given)
    with needs_extra("train", "edgedistill.run"):
        from edgedistill.recipe.load import as_recipe
        from edgedistill.runs.pipeline import run_pipeline
        from edgedistill.train.context import Stopped
        from edgedistill.train.distributed import init_distributed
    with init_distributed() as processes:
        resolved = as_recipe(recipe, overrides)
        path = Path(runs) / _default_name(recipe, resolved) if out is None else Path(out)
        loggers = [
            LOGGERS[name](path, resolved.model_dump(), resolved.log) for name in resolved.log.to
        ]
        with reporting([*given, *loggers], muted=processes.rank > 0) as active:
            try:
                metrics, state = run_pipeline(resolved, path, processes)
            except (Stopped, Interrupted, KeyboardInterrupt) as stop:
                because = f"{str(stop) or 'interrupted'}; the same command goes on from there"
                interrupted = Interrupted(f"{path}: {because}")
                active.on_end(RunEnd(path, "stopped", error=interrupted))
                raise interrupted from None
            except Exception as error:
                active.on_end(RunEnd(path, "failed", error=error))
                raise
            if request is not None:
                # Only saves time; a folder that can be read alone does without.
                with suppress(OutputError):
                    request.note(path)
            active.on_end(RunEnd(path, "finished", metrics=metrics))
    return Run(path, before=state, rank=processes.rank)


def _read_finished(path: Path, callbacks: Iterable[Callback]) -> Run:
    run = Run(path)
    with reporting(callbacks) as active:
        active.on_end(RunEnd(path, "finished", metrics=run.metrics))
    return run


def _default_name(source: str | Path | Recipe | Mapping[str, Any], recipe: Recipe) -> str:
    from edgedistill.runs.request import run_name

    stem = Path(source).stem if isinstance(source, str | Path) else recipe.method.name
    return run_name(stem, recipe.data.target, recipe.seed)
