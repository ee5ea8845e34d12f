"""The main job, stage by stage: images, teacher, training, calibration, evaluation, report."""

import csv
import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedistill._utils.atomic import write_json, write_text
from edgedistill._utils.console import Display
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import DataError
from edgedistill.methods import METHODS
from edgedistill.openset import evaluate
from edgedistill.recipe import Recipe
from edgedistill.report import write_report
from edgedistill.run.evaluate import (
    calibrate_on,
    measure,
    measure_teacher,
    report_data,
    save_student,
)
from edgedistill.run.folder import (
    STATES,
    RunFolder,
    State,
    check_fingerprints,
    locked_run,
    write_environment,
)
from edgedistill.run.prepare import (
    build_student,
    build_teacher_fn,
    decode,
    find_teacher,
    fingerprints,
    load_texts,
    validation,
)
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.view_cache.recipe import view_spec
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.context import History, Progress, TrainContext
from edgedistill.train.device import (
    autocast_dtype,
    describe,
    enough_memory,
    make_deterministic,
    own_device,
    resolve_device,
)
from edgedistill.train.distributed import ProcessGroup
from edgedistill.train.loop import fit
from edgedistill.train.predict import predict

_ALONE = ProcessGroup()


def run(
    recipe: Recipe, path: Path, display: Display, processes: ProcessGroup = _ALONE
) -> tuple[dict[str, Any], State]:
    """Do the run at `path`, or go on where an earlier start of it stopped.

    Other processes are kept out of the folder meanwhile; those of `processes` call this as well.

    Returns:
        What is in metrics.json (nothing in another process than the first), and how the run was
        found: a finished one is only read.

    Raises:
        EdgeDistillError: bad input, a full disk, or too little memory, in one line.
        Stopped: Ctrl-C or SIGTERM while training.
    """
    with enough_memory(), display.active():
        if processes.rank:
            state = STATES[processes.broadcast(0)]
            if state != "finished":
                _run(recipe, RunFolder(path), display, processes)
            return {}, state
        with locked_run(path, recipe) as (folder, state):
            processes.broadcast(STATES.index(state))
            if state == "finished":
                return _read_metrics(folder), state
            display.note(f"{path}: {'resuming' if state == 'unfinished' else 'new run'}")
            return _run(recipe, folder, display, processes), state


def _run(
    recipe: Recipe, folder: RunFolder, display: Display, processes: ProcessGroup
) -> dict[str, Any]:
    started = time.perf_counter()
    make_deterministic()
    device = own_device(recipe.device, processes.local_rank, processes.size)
    dtype = autocast_dtype(recipe.train.precision, device, recipe.student.model)
    dataset = resolve_split(recipe.data)
    split = dataset.split
    display.note(
        f"{recipe.data.dataset}: {len(split.train)} training and {len(split.val)} validation "
        f"images from {', '.join(split.sources)}; target {split.target}: "
        f"{len(split.target_known)} known, {len(split.target_unknown)} unknown images"
    )
    for line in dataset.notes:
        display.warn(line)
    teacher = find_teacher(recipe, device, display)
    text = load_texts(recipe, dataset, teacher).to(device) if teacher else None
    method = METHODS[recipe.method.name](
        METHODS[recipe.method.name].Hyper(**recipe.method.hyper), text=text
    )
    student, head = build_student(recipe, method, len(split.known), teacher, device)
    images = decode(recipe, dataset, teacher, display)
    val, target = images.val, images.target
    environment: dict[str, Any] = {}
    if not processes.rank:
        found = fingerprints(method, teacher, student, dataset, images)
        check_fingerprints(folder, found)
        about = {
            "device": str(device),
            "precision": str(dtype or torch.float32).removeprefix("torch."),
            "processes": processes.size,
            **describe(),
            "identity": found,
        }
        environment = write_environment(folder, about)
    validation_images, validation_views = validation(recipe, dataset, images)
    context = TrainContext(
        student=student,
        openset=head,
        method=method,
        images=images.train,
        spec=view_spec(recipe),
        views=recipe.views.count,
        teacher_fn=build_teacher_fn(recipe, method, teacher, images.train.images, display),
        text=text,
        validation=validation_images,
        validation_views=validation_views,
        size=recipe.student.size,
        settings=recipe.train,
        seed=recipe.seed,
        device=device,
        dtype=dtype,
        processes=processes,
    )
    prepared = time.perf_counter()
    history, training = _train(context, folder, display)
    trained = time.perf_counter()
    if processes.rank:
        return {}
    save_student(student, text, folder)
    best = max(row["val_accuracy"] for row in history)
    display.note(
        f"trained {recipe.train.steps} steps in {training:.0f} s, best source validation "
        f"{100 * best:.1f}%; evaluating on {len(dataset.target)} target images"
    )

    outputs = {
        name: predict(
            student,
            head,
            part,
            device=device,
            channels_last=recipe.train.channels_last,
        )
        for name, part in (("val", val), ("target", target))
    }
    threshold = calibrate_on(recipe, outputs["val"], folder)
    metrics = measure(recipe, dataset, outputs, threshold)
    metrics["teacher"] = measure_teacher(recipe, dataset, images, teacher, text)
    # A resumed run counts the training of its earlier starts in, and its own other stages.
    others = prepared - started + time.perf_counter() - trained
    metrics |= {"seconds": training + others, "training_seconds": training}
    data = report_data(recipe, dataset, folder, metrics, history, outputs, target, environment)
    write_report(folder.path, data)
    write_json(folder.metrics, metrics)
    return metrics


def _read_metrics(folder: RunFolder) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = json.loads(folder.metrics.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{folder.metrics}: damaged; delete it and run the recipe again") from None
    return metrics


def teacher_scores(recipe: Recipe) -> list[dict[str, Any]]:
    """Zero-shot answers of the teacher on every domain: one row of metrics per domain.

    The target's row is on its test images; the sources' rows are on all their images of known and
    unknown classes.
    """
    device = resolve_device(recipe.device)
    dataset = resolve_split(recipe.data)
    index, split = dataset.index, dataset.split
    teacher = load_teacher(recipe.teacher.model, recipe.teacher.pretrained, device)
    text = load_texts(recipe, dataset, teacher).to(device)
    store = open_store(index, teacher.size)
    labels = split.known_label[index.label]
    unknown = np.isin(index.label, [index.class_id(name) for name in split.unknown])
    rows = []
    for number, domain in enumerate(index.domains):
        here = (
            dataset.target
            if domain == split.target
            else np.flatnonzero((index.domain == number) & ((labels >= 0) | unknown))
        )
        outputs = zero_shot(teacher, text, dataset.label(store.images(here)))
        scored = evaluate(outputs, threshold=-math.inf, known=split.known)
        rows.append({"domain": domain, "target": domain == split.target, **scored})
    return rows


def _train(context: TrainContext, folder: RunFolder, display: Display) -> tuple[History, float]:
    def log(history: History) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(folder.history, text.getvalue())

    accuracy = math.nan
    with display.bar("training", "steps") as bar:

        def report(progress: Progress) -> None:
            nonlocal accuracy
            if progress.val_accuracy is not None:
                accuracy = progress.val_accuracy
            losses = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
            val = "" if math.isnan(accuracy) else f" val {100 * accuracy:.1f}%"
            bar(progress.step, progress.total, f"{progress.rate:.0f} images/s {losses}{val}")

        return fit(context, folder.checkpoint, report, log)
