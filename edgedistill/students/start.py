"""Start weights of a student's trunk, from any of the places that they may be in.

A file may hold a trunk alone, a whole classifier of torchvision or timm, or a CLIP model whose
image tower is a network of timm, as CLIP-KD's students are (Yang et al. 2024, arXiv 2307.12732). A
folder is a finished run.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from edgedistill.errors import WeightsError
from edgedistill.registries import METHODS
from edgedistill.students.checkpoints import Checkpoint, read_checkpoint
from edgedistill.students.weights import PROJECTION, PROJECTION_TEACHER, weights_file

_TRUNK, _HEAD, _CLIP_PROJECTION = "visual.trunk.", "visual.head.", "visual.head.proj.weight"


@dataclass(frozen=True)
class StartWeights:
    """Weights of a trunk, and what comes with them.

    Attributes:
        state: tensors by the trunk's names; a classifier's may be among them.
        origin: the file or run, for messages.
        projection: map from the trunk's features to embeddings, float32 `[D, d]`, if there is one.
        projection_teacher: fingerprint of the teacher whose embeddings they are; None where the
            file does not say.
        omitted: parts of the file that are no part of a trunk.
    """

    state: dict[str, Tensor]
    origin: str
    projection: Tensor | None = None
    projection_teacher: str | None = None
    omitted: tuple[str, ...] = ()


def read_start_weights(name: str, weights: str) -> StartWeights:
    """The start weights of student `name` that are "embedded" or at a path.

    Raises WeightsError for a file or run that is not there or cannot be read.
    """
    path = weights_file(name, weights)
    if path.is_dir():
        return _of_run(path)
    if path.name == "student.safetensors" and (path.parent / "metrics.json").is_file():
        return _of_run(path.parent)
    checkpoint = read_checkpoint(path)
    tensors = checkpoint.tensors
    origin = f"{path} ('{checkpoint.wrapper}')" if checkpoint.wrapper else str(path)
    if any(key.startswith("visual.") for key in tensors):
        return _of_clip(tensors, origin)
    if any(key.startswith("backbone.") for key in tensors):
        return _of_student(tensors, origin)
    return _of_trunk(checkpoint, origin)


def _of_trunk(checkpoint: Checkpoint, origin: str) -> StartWeights:
    state = {k: t for k, t in checkpoint.tensors.items() if k != PROJECTION}
    projection = checkpoint.tensors.get(PROJECTION)
    teacher = checkpoint.metadata.get(PROJECTION_TEACHER)
    if projection is None or teacher is None:
        omitted = () if projection is None else (f"{PROJECTION}, of a teacher it does not name",)
        return StartWeights(state, origin, omitted=omitted)
    return StartWeights(state, origin, projection.float(), teacher)


def _of_clip(tensors: Mapping[str, Tensor], origin: str) -> StartWeights:
    state = {k.removeprefix(_TRUNK): t for k, t in tensors.items() if k.startswith(_TRUNK)}
    if not state:
        raise WeightsError(
            f"student.weights: {origin} is a CLIP model whose image tower is no network of timm; "
            "it can be a teacher, and no student has its architecture"
        )
    head = [k for k in tensors if k.startswith(_HEAD)]
    others = len(tensors) - len(state) - len(head)
    omitted = [f"the text tower ({others} tensors)"] if others else []
    projection = None
    if head == [_CLIP_PROJECTION]:
        projection = tensors[_CLIP_PROJECTION].float()
    elif head:
        omitted.append(f"{_HEAD[:-1]}, which is more than a matrix")
    return StartWeights(state, origin, projection, omitted=tuple(omitted))


def _of_student(tensors: Mapping[str, Tensor], origin: str) -> StartWeights:
    state = {
        k.removeprefix("backbone."): t for k, t in tensors.items() if k.startswith("backbone.")
    }
    others = len(tensors) - len(state)
    omitted = (f"the classifier and class texts ({others} tensors)",) if others else ()
    return StartWeights(state, origin, omitted=omitted)


def _of_run(folder: Path) -> StartWeights:
    if not (folder / "metrics.json").is_file():
        problem = (
            "is not finished; run its recipe again to finish it"
            if (folder / "recipe.toml").is_file()
            else "is no run: give a run's folder, or a file of weights"
        )
        raise WeightsError(f"student.weights: {folder} {problem}")
    tensors = read_checkpoint(folder / "student.safetensors").tensors
    try:
        recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
        model, method = str(recipe["student"]["model"]), str(recipe["method"]["name"])
        environment: Any = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        teacher = environment["identity"]["teacher"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"student.weights: {folder} is not a run of this version ({type(error).__name__}: "
            f"{error}); give its student.safetensors under another name"
        ) from None
    origin = f"{folder} (a run of {model} with {method})"
    place = METHODS[method].projection_weight if method in METHODS else None
    projection = tensors.pop(f"head.{place}", None) if place and teacher is not None else None
    start = _of_student(tensors, origin)
    if projection is None:
        return start
    return replace(start, projection=projection.float(), projection_teacher=str(teacher))
