"""A finished run read back: its recipe, its results, and the student with the weights that ship."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgedistill.data.identity import ImageIdentity
from edgedistill.errors import RunFolderError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.methods import METHODS, Method
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe import Recipe, load_recipe
from edgedistill.runs.folder import RunFolder, read_images
from edgedistill.students import Student
from edgedistill.students.assemble import assemble_student
from edgedistill.students.weights import read_safetensors


def load_finished(folder: RunFolder) -> FinishedRun:
    """The run of a folder, its student with the weights that ship.

    Raises RunFolderError when a file of it is missing or damaged.
    """
    recipe = load_recipe(folder.recipe)
    metrics = _read_json(folder.metrics)
    openset = _read_json(folder.openset)
    try:
        classes = _classes(metrics)
        value = openset["threshold"]
        calibration = Calibration(
            score=str(openset["score"]),
            # JSON has no infinity; the run wrote null.
            threshold=-math.inf if value is None else float(value),
            target_keep_rate=float(openset["acceptance"]),
            images=int(openset["images"]),
        )
        _ = metrics["source_val"]["accuracy"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.path}: metrics.json or openset.json is not of a run of this version "
            f"({type(error).__name__}: {error}); run its recipe again under another --name"
        ) from None
    student, method = _student(folder, recipe, len(classes))
    head = OpenSetHead.with_texts(
        calibration.score,
        method.text,
        mean=student.mean,
        std=student.std,
        threshold=calibration.threshold,
    )
    return FinishedRun(
        path=folder.path,
        recipe=recipe,
        recipe_sha256=hashlib.sha256(folder.recipe.read_bytes()).hexdigest(),
        classes=classes,
        student=student,
        openset=head,
        method=method,
        calibration=calibration,
        metrics=metrics,
        images=_images(folder),
    )


def _images(folder: RunFolder) -> ImageIdentity | None:
    try:
        environment = json.loads(folder.environment.read_text(encoding="utf-8"))
        return read_images(folder, str(environment["identity"]["images"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _classes(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    if "classes" in metrics:
        return tuple(str(name) for name in metrics["classes"])
    # Earlier versions named them with their metrics alone.
    return tuple(str(row["class"]) for row in metrics["target"]["per_class"])


def _student(folder: RunFolder, recipe: Recipe, classes: int) -> tuple[Student, Method[Any, Any]]:
    tensors = read_safetensors(folder.student)
    text = None
    if "text.names" in tensors:
        names, owner, pooled = (tensors.pop(f"text.{n}") for n in ("names", "owner", "pooled"))
        vocabulary = tensors.pop("text.vocabulary", None)
        # Beside training, only a score with a vocabulary reads the teacher's logit scale.
        scale = float(tensors.pop("text.logit_scale", math.nan))
        text = TextBank(names, owner, pooled, recipe.prompts.pool, scale, vocabulary=vocabulary)
    kind = METHODS[recipe.method.name]
    try:
        method = kind(kind.Hyper(**recipe.method.hyper), text=text)
        # The start values are overwritten: the caller's random numbers must not notice.
        with torch.random.fork_rng(devices=[]):
            student = assemble_student(
                recipe.student.model, method, classes, size=recipe.student.size
            )
        student.load_state_dict(tensors)
    except (RuntimeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.student}: does not hold a {recipe.student.model} trained with "
            f"{recipe.method.name} on {classes} classes ({' '.join(str(error).split())[:200]}); "
            "run its recipe again under another --name"
        ) from None
    return student.eval().requires_grad_(False), method


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(
            f"{path}: missing; run its recipe again under another --name"
        ) from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RunFolderError(
            f"{path}: damaged, not the JSON a run writes; run its recipe again under another --name"
        )
    return content
