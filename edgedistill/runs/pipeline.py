"""The main job: Prepare -> Teach -> Train -> Calibrate -> Evaluate -> Report."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import callbacks
from edgedistill._utils.atomic import write_json
from edgedistill.callbacks import Stage
from edgedistill.errors import RunFolderError
from edgedistill.recipe import Recipe
from edgedistill.runs.folder import STATES, RunFolder, State, locked_run
from edgedistill.runs.stages import Calibrate, Check, Evaluate, Prepare, Report, Start, Teach, Train
from edgedistill.runs.stages.check import share_reliability
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.workspace import Workspace
from edgedistill.teacher.check import TeacherCheck
from edgedistill.train.device import (
    autocast_dtype,
    enough_memory,
    make_deterministic,
    own_device,
    precision_warning,
)
from edgedistill.train.distributed import ProcessGroup

_ALONE = ProcessGroup()


@dataclass(frozen=True)
class Stages:
    """The stages of a run, each with its own sections of the recipe."""

    prepare: Prepare
    check: Check
    start: Start
    teach: Teach
    train: Train
    calibrate: Calibrate
    evaluate: Evaluate
    report: Report

    @classmethod
    def of(cls, recipe: Recipe) -> "Stages":
        """The one place where a recipe is taken apart."""
        channels_last, seed = recipe.train.channels_last, recipe.seed
        assert recipe.openset.score is not None, "a resolved recipe has a score"
        return cls(
            Prepare(
                data=recipe.data,
                teacher=recipe.teacher,
                prompts=recipe.prompts,
                method=recipe.method,
                student=recipe.student,
                store_size=recipe.views.store_size,
                score=recipe.openset.score,
                keep=recipe.openset.keep,
                source_unknowns=recipe.openset.source_unknowns,
                channels_last=channels_last,
                seed=seed,
                unlabelled_per_step=recipe.train.unlabelled_per_step if recipe.train.steps else 0,
            ),
            Check(batch=recipe.teacher.batch),
            Start(keep=recipe.openset.keep, channels_last=channels_last),
            Teach(views=recipe.views, teacher=recipe.teacher, steps=recipe.train.steps),
            Train(train=recipe.train, views=recipe.views, size=recipe.student.size, seed=seed),
            Calibrate(openset=recipe.openset, channels_last=channels_last),
            Evaluate(
                openset=recipe.openset,
                channels_last=channels_last,
                teacher_batch=recipe.teacher.batch,
                protocol=recipe.data.protocol,
                method=recipe.method.name,
                student=recipe.student.model,
                seed=seed,
            ),
            Report(report=recipe.report, seed=seed, teacher_batch=recipe.teacher.batch),
        )


def run_pipeline(
    recipe: Recipe, path: Path, processes: ProcessGroup = _ALONE, *, report: bool = True
) -> tuple[dict[str, Any], State]:
    """Do the run at `path`, or go on where an earlier start of it stopped.

    Other processes are kept out of the folder meanwhile; those of `processes` call this as well.
    Stages and progress go to `callbacks.current()`.

    Args:
        recipe: resolved, see `edgedistill.recipe.resolve`.
        path: the run folder; made if it is not there.
        report: write report.html and its pictures, which take seconds; metrics.json is always
            written.

    Returns:
        What is in metrics.json (nothing in another process than the first), and how the run was
        found: a finished one is only read.

    Raises:
        EdgeDistillError: bad input, a full disk, or too little memory, in one line.
        Stopped: Ctrl-C or SIGTERM while training.
    """
    with enough_memory():
        if processes.rank:
            state = STATES[processes.broadcast(0)]
            if state != "finished":
                _run(recipe, RunFolder(path), processes, report)
            return {}, state
        folder = RunFolder(path)
        with locked_run(folder, recipe) as state:
            processes.broadcast(STATES.index(state))
            if state == "finished":
                return _read_metrics(folder), state
            verb = "resuming" if state == "unfinished" else "new run"
            callbacks.current().on_note(f"{path}: {verb}")
            return _run(recipe, folder, processes, report), state


def _run(
    recipe: Recipe, folder: RunFolder, processes: ProcessGroup, report: bool
) -> dict[str, Any]:
    started = time.perf_counter()
    make_deterministic()
    device = own_device(recipe.device, processes.local_rank, processes.size)
    dtype = autocast_dtype(recipe.train.precision, device, recipe.student.model)
    slow = precision_warning(dtype, device)
    if slow and processes.rank == 0:
        callbacks.current().on_warning(slow)
    workspace = Workspace(folder, device, dtype, processes)
    stages, on_stage = Stages.of(recipe), callbacks.current().on_stage

    on_stage(Stage.PREPARE)
    prepared = stages.prepare(workspace)
    on_stage(Stage.TEACH)
    check = None if processes.rank else stages.check(folder, prepared)
    teacher_fn = stages.teach(prepared)
    reliability = share_reliability(check, len(prepared.dataset.split.known), processes)
    start_val = None if processes.rank else stages.start.validate(workspace, prepared)
    on_stage(Stage.TRAIN)
    before_training = time.perf_counter()
    trained = stages.train(workspace, prepared, teacher_fn, reliability)
    after_training = time.perf_counter()
    if processes.rank:
        return {}
    on_stage(Stage.CALIBRATE)
    calibrated = stages.calibrate(workspace, prepared)
    on_stage(Stage.EVALUATE)
    evaluated = stages.evaluate(workspace, prepared, calibrated)
    start = stages.start.evaluate(workspace, prepared, start_val)
    # A resumed run counts the training of its earlier starts in, and its own other stages.
    others = before_training - started + time.perf_counter() - after_training
    times = {"seconds": trained.seconds + others, "training_seconds": trained.seconds}
    metrics = evaluated.metrics | times | _of_teacher(check, prepared) | {"start": start}
    metrics["wise_ft"] = trained.interpolation and trained.interpolation.as_json()
    on_stage(Stage.REPORT)
    if report:
        stages.report(folder, prepared, trained, calibrated, evaluated, metrics)
    else:
        write_json(folder.metrics, metrics)
    return metrics


def _of_teacher(check: TeacherCheck | None, prepared: Prepared) -> dict[str, Any]:
    if check is None:
        return {"teacher_check": None, "teacher_reliability": None}
    reliability = check.reliability()
    return {
        "teacher_check": check.as_json(),
        "teacher_reliability": {
            "odds": reliability.overall,
            "odds_by_class": reliability.per_class.tolist(),
            "use": prepared.method.describe_reliability(reliability),
        },
    }


def _read_metrics(folder: RunFolder) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads(folder.metrics.read_text(encoding="utf-8"))
    except ValueError:
        raise RunFolderError(
            f"{folder.metrics}: damaged; delete it and run the recipe again"
        ) from None
    return metrics
