"""What a trained student is worth: threshold, metrics, and everything the report shows."""

from collections.abc import Mapping
from typing import Any

from safetensors.torch import save

from edgedistill._utils.atomic import write_bytes, write_json
from edgedistill.data.images import LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.protocols.split import training_hybridness
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.recipe import Recipe
from edgedistill.report import ReportData, Samples, sample_rows
from edgedistill.run.folder import RunFolder
from edgedistill.run.prepare import RunImages
from edgedistill.students import Student
from edgedistill.teacher.open_clip import Teacher
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.context import History


def save_student(student: Student, text: TextBank | None, folder: RunFolder) -> None:
    """Weights, and the class texts that a projecting student is compared with."""
    tensors = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    if text is not None:
        tensors |= {"text.names": text.names, "text.owner": text.owner, "text.pooled": text.pooled}
    # contiguous() undoes channels_last: safetensors stores plain row-major arrays.
    write_bytes(folder.student, save({k: v.cpu().contiguous() for k, v in tensors.items()}))


def calibrate_on(recipe: Recipe, val: Outputs, folder: RunFolder) -> float:
    """The threshold from source validation, also written to openset.json."""
    settings = recipe.openset
    threshold = calibrate(val.scores, settings.keep)
    write_json(
        folder.openset,
        {
            "score": settings.score,
            "threshold": threshold,
            "acceptance": settings.keep,
            "calibrated_on": "source validation",
            "rule": "accept when score >= threshold, split-conformal quantile",
            "images": len(val.labels),
        },
    )
    return threshold


def measure(
    recipe: Recipe,
    dataset: OpenSetSplit,
    outputs: Mapping[str, Outputs],
    threshold: float,
) -> dict[str, Any]:
    """metrics.json of the outputs for "val" and "target", but for the teacher and the time."""
    known, score = dataset.split.known, recipe.openset.score
    found = {name: evaluate(out, threshold=threshold, known=known) for name, out in outputs.items()}
    return {
        "target": {"domain": dataset.split.target, **found["target"]},
        "source_val": {
            key: found["val"][key] for key in ("accuracy", "known_acceptance", "images_known")
        },
        "protocol": recipe.data.protocol,
        "hybridness": training_hybridness(dataset.index, dataset.split),
        "teacher": None,
        "openset": {
            "score": score,
            "threshold": threshold,
            "acceptance": recipe.openset.keep,
        },
        "seed": recipe.seed,
        "method": recipe.method.name,
        "student": recipe.student.model,
    }


def measure_teacher(
    recipe: Recipe,
    dataset: OpenSetSplit,
    images: RunImages,
    teacher: Teacher | None,
    text: TextBank | None,
) -> dict[str, Any] | None:
    """Zero-shot on the target, with max cosine calibrated on the same validation images."""
    val, target = images.teacher_val, images.teacher_target
    if teacher is None or text is None or val is None or target is None:
        return None
    outputs = {
        name: zero_shot(teacher, text, labelled)
        for name, labelled in (("val", val), ("target", target))
    }
    threshold = calibrate(outputs["val"].scores, recipe.openset.keep)
    scored = evaluate(outputs["target"], threshold=threshold, known=dataset.split.known)
    scored.pop("per_class")
    return {"name": teacher.name, "target_accuracy": scored["accuracy"], **scored}


def report_data(
    recipe: Recipe,
    dataset: OpenSetSplit,
    folder: RunFolder,
    metrics: Mapping[str, Any],
    history: History,
    outputs: Mapping[str, Outputs],
    target: LabelledImages,
    environment: Mapping[str, Any],
) -> ReportData:
    """What report.html is made of."""
    val, test = outputs["val"], outputs["target"]
    accepted = test.scores >= metrics["openset"]["threshold"]
    shown = sample_rows(test.labels, test.predictions, accepted, seed=recipe.seed)
    classes = dataset.index.classes
    return ReportData(
        name=folder.path.name,
        metrics=metrics,
        history=history,
        known=dataset.split.known,
        source_val_scores=val.scores,
        source_val_correct=val.predictions == val.labels,
        target_scores=test.scores,
        target_labels=test.labels,
        target_predictions=test.predictions,
        samples=Samples(
            images=target.images[shown],
            names=[classes[dataset.index.label[target.images.rows[i]]] for i in shown],
            labels=test.labels[shown],
            predictions=test.predictions[shown],
            scores=test.scores[shown],
            accepted=accepted[shown],
        ),
        recipe=folder.recipe.read_text(encoding="utf-8"),
        environment=environment,
    )
