"""The main job, stage by stage: images, teacher, training, calibration, evaluation, report."""

import csv
import io
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from edgedistill.atomic import write_bytes, write_json, write_text
from edgedistill.data.cache_dir import cache_dir
from edgedistill.data.selection import Images
from edgedistill.data.store import Decoded, open_store
from edgedistill.data.views import ViewSpec, image_key, render_views, view_parameters
from edgedistill.display import Display
from edgedistill.errors import EdgeDistillError
from edgedistill.methods import METHODS, Method
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.problem import Problem, load_problem, load_texts
from edgedistill.recipe import Recipe
from edgedistill.report import ReportData, Samples, sample_rows, write_report
from edgedistill.run_folder import RunFolder, write_environment
from edgedistill.students import MEAN, STD, Student, build_backbone, start_projection
from edgedistill.teacher.cache import ViewSource, build_view_cache, embed_views
from edgedistill.teacher.clip import Teacher, load_teacher
from edgedistill.teacher.text import TextBank
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.batches import Batch, TrainImages
from edgedistill.train.depthwise import use_fast_depthwise
from edgedistill.train.device import describe, make_deterministic, resolve_device
from edgedistill.train.loop import History, Progress, Task, Teach, fit
from edgedistill.train.predict import predict


def run(recipe: Recipe, folder: RunFolder, display: Display) -> dict[str, Any]:
    """Train, calibrate, evaluate and report; go on where an earlier start stopped.

    Returns:
        What is written to metrics.json.

    Raises:
        EdgeDistillError: bad input or a full disk, in one line.
        Stopped: Ctrl-C or SIGTERM while training.
    """
    started = time.perf_counter()
    make_deterministic()
    device = resolve_device(recipe.device)
    problem = load_problem(recipe)
    split = problem.split
    display.note(
        f"{recipe.data.dataset}: {len(split.train)} training and {len(split.val)} validation "
        f"images from {', '.join(split.sources)}; target {split.target}: "
        f"{len(split.target_known)} known, {len(split.target_unknown)} unknown images"
    )
    teacher = _teacher(recipe, device, display)
    text = load_texts(recipe, problem, teacher).to(device) if teacher else None
    method = METHODS[recipe.method.name](
        METHODS[recipe.method.name].Hyper(**recipe.method.hyper), text=text
    )
    student = _student(recipe, method, len(split.known), teacher, device)
    environment = write_environment(folder, {"device": str(device), **describe()})

    size = recipe.student.size
    largest = max(size, teacher.size if teacher else 0)
    if recipe.views.store_size < largest:
        display.warn(
            f"views.store_size {recipe.views.store_size} is below the input side {largest}: "
            "crops are enlarged"
        )
    train = open_store(problem.index, recipe.views.store_size).decoded(split.train)
    plain = open_store(problem.index, size)
    val, target = plain.decoded(split.val), plain.decoded(problem.target)
    _report_files(display, train, val, target)
    images = _train_images(problem, train)
    spec = view_spec(recipe)
    val_labels = split.known_label[problem.index.label[val.rows]]
    task = Task(
        student=student,
        method=method,
        images=images,
        spec=spec,
        views=recipe.views.count,
        teach=_teach(recipe, method, teacher, images, spec, display),
        text=text,
        validation=_validation(recipe, problem, val, spec),
        validation_labels=val_labels,
        validation_domains=problem.index.domain[val.rows],
        size=size,
        settings=recipe.train,
        seed=recipe.seed,
        device=device,
    )
    prepared = time.perf_counter()
    history, training = _train(task, folder, display)
    trained = time.perf_counter()
    _save_student(student, text, folder)
    best = max(row["val_accuracy"] for row in history)
    display.note(
        f"trained {recipe.train.steps} steps in {training:.0f} s, best source validation "
        f"{100 * best:.1f}%; evaluating on {len(problem.target)} target images"
    )

    outputs = {
        name: predict(
            student,
            method,
            found.images,
            _labels(problem, found),
            device=device,
            channels_last=recipe.train.channels_last,
        )
        for name, found in (("val", val), ("target", target))
    }
    threshold = _calibrate(recipe, outputs["val"], folder)
    metrics = _metrics(recipe, problem, outputs, threshold)
    metrics["teacher"] = _teacher_metrics(recipe, problem, teacher, text)
    # A resumed run counts the training of its earlier starts in, and its own other stages.
    others = prepared - started + time.perf_counter() - trained
    metrics |= {"seconds": training + others, "training_seconds": training}
    data = _report_data(recipe, problem, folder, metrics, history, outputs, target, environment)
    write_report(folder.path, data)
    write_json(folder.metrics, metrics)
    return metrics


def view_spec(recipe: Recipe) -> ViewSpec:
    """The recipe's view parameters."""
    return ViewSpec(**recipe.views.model_dump(exclude={"count", "store_size"}))


def teacher_scores(recipe: Recipe, display: Display) -> list[dict[str, Any]]:
    """Zero-shot answers of the teacher on every domain: one row of metrics per domain.

    The target's row is on its test images; the sources' rows are on all their images of known and
    unknown classes.
    """
    device = resolve_device(recipe.device)
    problem = load_problem(recipe)
    index, split = problem.index, problem.split
    teacher = load_teacher(recipe.teacher.model, recipe.teacher.pretrained, device)
    text = load_texts(recipe, problem, teacher).to(device)
    store = open_store(index, teacher.size)
    labels = split.known_label[index.label]
    unknown = np.isin(index.label, [index.class_id(name) for name in split.unknown])
    rows = []
    for number, domain in enumerate(index.domains):
        here = (
            problem.target
            if domain == split.target
            else np.flatnonzero((index.domain == number) & ((labels >= 0) | unknown))
        )
        found = store.decoded(here)
        outputs = zero_shot(teacher, text, found.images, labels[found.rows])
        scored = evaluate(outputs, score="max_cosine", threshold=-math.inf, known=split.known)
        rows.append({"domain": domain, "target": domain == split.target, **scored})
    return rows


def _teacher(recipe: Recipe, device: torch.device, display: Display) -> Teacher | None:
    """The teacher; None with a warning where the method can do without it."""
    try:
        return load_teacher(recipe.teacher.model, recipe.teacher.pretrained, device)
    except EdgeDistillError as error:
        if METHODS[recipe.method.name].needs_teacher:
            raise
        display.warn(f"no teacher to compare with: {error}")
        return None


def _student(
    recipe: Recipe,
    method: Method[Any, Any],
    classes: int,
    teacher: Teacher | None,
    device: torch.device,
) -> Student:
    torch.manual_seed(recipe.seed)
    backbone, width = build_backbone(recipe.student.model, recipe.student.weights)
    projection = (
        start_projection(recipe.student.model, recipe.student.weights, teacher.fingerprint)
        if teacher
        else None
    )
    head = method.head(width, classes, projection)
    student = Student(backbone, head, freeze_bn=recipe.student.freeze_bn)
    use_fast_depthwise(student)
    student.to(device)
    if recipe.train.channels_last:
        student.to(memory_format=torch.channels_last)
    # A score the method cannot give is better refused now than after training.
    blank = np.zeros((1, recipe.student.size, recipe.student.size, 3), np.uint8)
    predict(student, method, blank, np.zeros(1, np.int64), device=device).score(
        recipe.openset.score
    )
    return student


def _report_files(display: Display, *parts: Decoded) -> None:
    problems = sorted({line for part in parts for line in part.problems})
    if problems:
        more = f" (and {len(problems) - 1} more, see data info)" if len(problems) > 1 else ""
        display.warn(f"{len(problems)} image files need attention: {problems[0]}{more}")


def _train_images(problem: Problem, train: Decoded) -> TrainImages:
    index, split = problem.index, problem.split
    domain = index.domain[train.rows]
    sources = [index.domains.index(name) for name in split.sources]
    positions = tuple(np.flatnonzero(domain == number) for number in sources)
    for name, found in zip(split.sources, positions, strict=True):
        if not len(found):
            raise EdgeDistillError(f"data: no readable training image in domain {name!r}")
    labels = split.known_label[index.label[train.rows]]
    return TrainImages(index.paths, train.images, train.rows, labels, positions)


def _teach(
    recipe: Recipe,
    method: Method[Any, Any],
    teacher: Teacher | None,
    images: TrainImages,
    spec: ViewSpec,
    display: Display,
) -> Teach | None:
    """How the loop gets the teacher's embeddings: from the cache, or on the fly."""
    if teacher is None or not method.needs_teacher:
        return None
    normalisation = (MEAN, STD) if recipe.teacher.normalisation == "student" else None
    source = ViewSource(images.paths, images.pixels, images.rows)
    if recipe.views.count == 0:
        return lambda batch: embed_views(
            teacher, source, batch.positions, batch.views, spec, normalisation
        )
    with display.bar("teacher views", "images") as bar:
        cache = build_view_cache(
            cache_dir() / "views",
            teacher,
            source,
            spec,
            recipe.views.count,
            normalisation=normalisation,
            batch=recipe.teacher.batch,
            report=bar,
            waiting=lambda: display.note("another process fills this view cache; waiting for it"),
        )
    device = teacher.device

    def look_up(batch: Batch) -> torch.Tensor:
        found = cache.lookup(images.rows[batch.positions], batch.views)
        # float16 moved the length by up to a few 1e-4.
        return torch.nn.functional.normalize(torch.from_numpy(found).to(device), dim=1)

    return look_up


def _validation(
    recipe: Recipe, problem: Problem, val: Decoded, spec: ViewSpec
) -> Images | torch.Tensor:
    if not recipe.train.augmented_validation:
        return val.images
    stored = open_store(problem.index, recipe.views.store_size).gather(val.rows)
    keys = np.array([image_key(problem.index.paths[r]) for r in val.rows], dtype=np.uint64)
    parameters = view_parameters(spec, keys, np.zeros(len(keys), np.int64))
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2)
    return render_views(pixels, torch.from_numpy(parameters), recipe.student.size)


def _train(task: Task, folder: RunFolder, display: Display) -> tuple[History, float]:
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
            terms = " ".join(f"{name} {value:.3f}" for name, value in progress.terms.items())
            val = "" if math.isnan(accuracy) else f" val {100 * accuracy:.1f}%"
            bar(progress.step, progress.total, f"{progress.rate:.0f} images/s {terms}{val}")

        return fit(task, folder.checkpoint, report, log)


def _save_student(student: Student, text: TextBank | None, folder: RunFolder) -> None:
    """Weights, and the class texts that a projecting student is compared with."""
    tensors = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    if text is not None:
        tensors |= {"text.names": text.names, "text.owner": text.owner, "text.pooled": text.pooled}
    # contiguous() undoes channels_last: safetensors stores plain row-major arrays.
    write_bytes(folder.student, save({k: v.cpu().contiguous() for k, v in tensors.items()}))


def _labels(problem: Problem, found: Decoded) -> NDArray[np.int64]:
    return problem.split.known_label[problem.index.label[found.rows]]


def _calibrate(recipe: Recipe, val: Outputs, folder: RunFolder) -> float:
    settings = recipe.openset
    threshold = calibrate(val.score(settings.score), settings.acceptance)
    write_json(
        folder.openset,
        {
            "score": settings.score,
            "threshold": threshold,
            "acceptance": settings.acceptance,
            "calibrated_on": "source validation",
            "rule": "accept when score >= threshold, split-conformal quantile",
            "images": len(val.labels),
        },
    )
    return threshold


def _metrics(
    recipe: Recipe,
    problem: Problem,
    outputs: Mapping[str, Outputs],
    threshold: float,
) -> dict[str, Any]:
    known, score = problem.split.known, recipe.openset.score
    found = {
        name: evaluate(out, score=score, threshold=threshold, known=known)
        for name, out in outputs.items()
    }
    return {
        "target": {"domain": problem.split.target, **found["target"]},
        "source_val": {
            key: found["val"][key] for key in ("accuracy", "known_acceptance", "images_known")
        },
        "teacher": None,
        "openset": {
            "score": score,
            "threshold": threshold,
            "acceptance": recipe.openset.acceptance,
        },
        "seed": recipe.seed,
        "method": recipe.method.name,
        "student": recipe.student.model,
    }


def _teacher_metrics(
    recipe: Recipe, problem: Problem, teacher: Teacher | None, text: TextBank | None
) -> dict[str, Any] | None:
    """Zero-shot on the target, with max cosine calibrated on the same validation images."""
    if teacher is None or text is None:
        return None
    store = open_store(problem.index, teacher.size)
    outputs = {}
    for name, rows in (("val", problem.split.val), ("target", problem.target)):
        found = store.decoded(rows)
        outputs[name] = zero_shot(teacher, text, found.images, _labels(problem, found))
    threshold = calibrate(outputs["val"].score("max_cosine"), recipe.openset.acceptance)
    scored = evaluate(
        outputs["target"], score="max_cosine", threshold=threshold, known=problem.split.known
    )
    scored.pop("per_class")
    return {"name": teacher.name, "target_accuracy": scored["accuracy"], **scored}


def _report_data(
    recipe: Recipe,
    problem: Problem,
    folder: RunFolder,
    metrics: Mapping[str, Any],
    history: History,
    outputs: Mapping[str, Outputs],
    target: Decoded,
    environment: Mapping[str, Any],
) -> ReportData:
    val, test = outputs["val"], outputs["target"]
    score, threshold = recipe.openset.score, metrics["openset"]["threshold"]
    scores = test.score(score)
    accepted = scores >= threshold
    shown = sample_rows(test.labels, test.predictions, accepted, seed=recipe.seed)
    classes = problem.index.classes
    return ReportData(
        name=folder.path.name,
        metrics=metrics,
        history=history,
        known=problem.split.known,
        source_val_scores=val.score(score),
        source_val_correct=val.predictions == val.labels,
        target_scores=scores,
        target_labels=test.labels,
        target_predictions=test.predictions,
        samples=Samples(
            images=target.images[shown],
            names=[classes[problem.index.label[target.rows[i]]] for i in shown],
            labels=test.labels[shown],
            predictions=test.predictions[shown],
            scores=scores[shown],
            accepted=accepted[shown],
        ),
        recipe=folder.recipe.read_text(encoding="utf-8"),
        environment=environment,
    )
