"""What a trained student is worth: threshold, metrics, and everything the report shows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from edgedistill.atomic import write_bytes, write_json
from edgedistill.data.split import training_hybridness
from edgedistill.data.store import Decoded
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.preparation import Pictures
from edgedistill.problem import Problem
from edgedistill.recipe import Recipe
from edgedistill.report import ReportData, Samples, sample_rows
from edgedistill.run_folder import RunFolder
from edgedistill.students import Student
from edgedistill.teacher.clip import Teacher
from edgedistill.teacher.text import TextBank
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.task import History


def save_student(student: Student, text: TextBank | None, folder: RunFolder) -> None:
    """Weights, and the class texts that a projecting student is compared with."""
    tensors = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    if text is not None:
        tensors |= {"text.names": text.names, "text.owner": text.owner, "text.pooled": text.pooled}
    # contiguous() undoes channels_last: safetensors stores plain row-major arrays.
    write_bytes(folder.student, save({k: v.cpu().contiguous() for k, v in tensors.items()}))


def labels_of(problem: Problem, found: Decoded) -> NDArray[np.int64]:
    """Known labels, int64 `[K]`, -1 for unknown."""
    return problem.split.known_label[problem.index.label[found.rows]]


def calibrate_on(recipe: Recipe, val: Outputs, folder: RunFolder) -> float:
    """The threshold from source validation, also written to openset.json."""
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


def measure(
    recipe: Recipe,
    problem: Problem,
    outputs: Mapping[str, Outputs],
    threshold: float,
) -> dict[str, Any]:
    """metrics.json of the outputs for "val" and "target", but for the teacher and the time."""
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
        "protocol": recipe.data.protocol,
        "hybridness": training_hybridness(problem.index, problem.split),
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


def measure_teacher(
    recipe: Recipe,
    problem: Problem,
    pictures: Pictures,
    teacher: Teacher | None,
    text: TextBank | None,
) -> dict[str, Any] | None:
    """Zero-shot on the target, with max cosine calibrated on the same validation images."""
    val, target = pictures.teacher_val, pictures.teacher_target
    if teacher is None or text is None or val is None or target is None:
        return None
    outputs = {
        name: zero_shot(teacher, text, found.images, labels_of(problem, found))
        for name, found in (("val", val), ("target", target))
    }
    threshold = calibrate(outputs["val"].score("max_cosine"), recipe.openset.acceptance)
    scored = evaluate(
        outputs["target"], score="max_cosine", threshold=threshold, known=problem.split.known
    )
    scored.pop("per_class")
    return {"name": teacher.name, "target_accuracy": scored["accuracy"], **scored}


def report_data(
    recipe: Recipe,
    problem: Problem,
    folder: RunFolder,
    metrics: Mapping[str, Any],
    history: History,
    outputs: Mapping[str, Outputs],
    target: Decoded,
    environment: Mapping[str, Any],
) -> ReportData:
    """What report.html is made of."""
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
