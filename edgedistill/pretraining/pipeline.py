"""The stages of a pretraining: Prepare -> Teach -> Train -> Report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from edgedistill import callbacks
from edgedistill._utils.atomic import probe, write_bytes, write_json
from edgedistill.callbacks import Stage
from edgedistill.errors import RunFolderError
from edgedistill.pretraining.folder import PretrainingFolder, folder_of
from edgedistill.pretraining.images import Listing, list_and_split
from edgedistill.pretraining.prepare import Prepared, prepare
from edgedistill.recipe import to_toml
from edgedistill.recipe.pretraining import PretrainingRecipe, with_steps
from edgedistill.report.pretraining import write_pretraining_report
from edgedistill.runs.folder import STATES, State, locked_run, write_history
from edgedistill.runs.workspace import Workspace
from edgedistill.students.int8_weights import quantize_tensors
from edgedistill.students.weights import PROJECTION, PROJECTION_TEACHER
from edgedistill.teacher.view_cache.settings import ViewCacheSettings
from edgedistill.train.context import History, TrainContext
from edgedistill.train.device import autocast_dtype, enough_memory, make_deterministic, own_device
from edgedistill.train.distributed import ProcessGroup
from edgedistill.train.loop import fit
from edgedistill.train.teacher_fn import open_teacher_fn

_ALONE = ProcessGroup()


def run_pretraining(
    recipe: PretrainingRecipe, output: Path, processes: ProcessGroup = _ALONE
) -> tuple[dict[str, Any], State]:
    """Pretrain into `output`, or go on where an earlier start of it stopped.

    Other processes are kept out of the working folder meanwhile; those of `processes` call this as
    well. Stages and progress go to `callbacks.current()`.

    Returns:
        What is in figures.json (nothing in another process than the first), and how the working
        folder was found: a finished one is only read.

    Raises:
        EdgeDistillError: bad input, a full disk, or too little memory, in one line.
        Stopped: Ctrl-C or SIGTERM while training.
    """
    with enough_memory():
        listing = list_and_split(recipe.data.images, recipe.data.held_out)
        recipe, folder = with_steps(recipe, len(listing.train)), folder_of(output)
        if processes.rank:
            state = STATES[processes.broadcast(0)]
            if state != "finished":
                _pretrain(recipe, listing, folder, output, processes)
            return {}, state
        with locked_run(folder, recipe) as state:
            complete = state == "finished" and output.is_file()
            if not complete:
                # What cannot be written is refused before hours of training, not behind them.
                probe(output)
                state = "unfinished" if state == "finished" else state
            processes.broadcast(STATES.index(state))
            if complete:
                return read_figures(folder), state
            verb = "resuming" if state == "unfinished" else "new pretraining"
            callbacks.current().on_note(f"{folder.path}: {verb}")
            return _pretrain(recipe, listing, folder, output, processes), state


def read_figures(folder: PretrainingFolder) -> dict[str, Any]:
    """figures.json of a finished pretraining. Raises RunFolderError where it is damaged."""
    try:
        figures: dict[str, Any] = json.loads(folder.metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunFolderError(
            f"{folder.metrics}: missing or damaged; delete it and start the pretraining again"
        ) from None
    return figures


def _pretrain(
    recipe: PretrainingRecipe,
    listing: Listing,
    folder: PretrainingFolder,
    output: Path,
    processes: ProcessGroup,
) -> dict[str, Any]:
    started, on_stage = time.perf_counter(), callbacks.current().on_stage
    make_deterministic()
    device = own_device(recipe.device, processes.local_rank, processes.size)
    dtype = autocast_dtype(recipe.train.precision, device, recipe.student.model)

    on_stage(Stage.PREPARE)
    prepared = prepare(recipe, listing, Workspace(folder, device, dtype, processes))
    on_stage(Stage.TEACH)
    student, teacher = prepared.student, prepared.teacher
    settings = ViewCacheSettings.of(recipe.views, recipe.teacher, (student.mean, student.std))
    teacher_fn = open_teacher_fn(teacher, settings, prepared.images.images)
    on_stage(Stage.TRAIN)
    context = TrainContext(
        student=student,
        method=prepared.objective,
        images=prepared.images,
        spec=settings.spec,
        views=settings.count,
        teacher_fn=teacher_fn,
        text=prepared.objective.class_texts(),
        validator=prepared.validator,
        size=recipe.student.size,
        settings=recipe.train.loop_settings(),
        seed=recipe.seed,
        device=device,
        dtype=dtype,
        processes=processes,
    )
    before_training = time.perf_counter()
    history, seconds = fit(
        context,
        folder.checkpoint,
        callbacks.current(),
        lambda rows: write_history(folder, rows),
    )
    after_training = time.perf_counter()
    if processes.rank:
        return {}
    _write_weights(recipe, prepared, output)
    on_stage(Stage.REPORT)
    # A resumed pretraining counts the training of its earlier starts in.
    others = before_training - started + time.perf_counter() - after_training
    times = {"seconds": seconds + others, "training_seconds": seconds}
    figures = _figures(recipe, prepared, history) | times
    write_pretraining_report(folder.report, figures, history, to_toml(recipe))
    write_json(folder.metrics, figures)
    callbacks.current().on_note(
        f"trained {figures['steps']} steps in {seconds:.0f} s, cosine to the teacher "
        f"{figures['cosine']:.4f} on held-out images"
    )
    return figures


def _figures(recipe: PretrainingRecipe, prepared: Prepared, history: History) -> dict[str, Any]:
    """What figures.json holds beside the times."""
    latest = recipe.train.loop_settings().ties == "latest"
    rows = reversed(history) if latest else history
    best = max(rows, key=lambda row: row[prepared.validator.figure])
    zero_shot = None
    if prepared.teacher_zero_shot is not None:
        zero_shot = {
            "data": recipe.data.labelled,
            "accuracy": best.get("val_accuracy"),
            "auroc": best.get("val_auroc"),
            "teacher": prepared.teacher_zero_shot,
        }
    return {
        "student": recipe.student.model,
        "start_weights": recipe.student.weights,
        "size": recipe.student.size,
        "teacher": {
            "name": prepared.teacher.name,
            "fingerprint": prepared.teacher.fingerprint,
            "width": prepared.teacher.width,
        },
        "images": {
            "train": len(prepared.images),
            "held_out": len(prepared.validator.images),
            "left_out": list(prepared.left_out),
        },
        "steps": int(history[-1]["step"]),
        "selected_step": int(best["step"]),
        "cosine": best[prepared.validator.figure],
        "zero_shot": zero_shot,
    }


def _write_weights(recipe: PretrainingRecipe, prepared: Prepared, output: Path) -> None:
    """The backbone under its own names, and the projection with its teacher's fingerprint."""
    student = prepared.student
    state: dict[str, Tensor] = dict(student.backbone.state_dict())
    state[PROJECTION] = student.head.state_dict()["projector.weight"]
    # contiguous() undoes channels_last: safetensors stores plain row-major arrays.
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    if recipe.save == "int8":
        state = quantize_tensors(state)
    elif recipe.save == "fp16":
        state = {k: t.half() if t.ndim > 1 else t for k, t in state.items()}
    metadata = {PROJECTION_TEACHER: prepared.teacher.fingerprint}
    write_bytes(output, save(state, metadata=metadata))
