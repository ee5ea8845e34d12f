"""Backbones of students by name, with the weights a recipe asks for."""

from __future__ import annotations

from safetensors import safe_open
from torch import Tensor, nn

from edgedistill.registries import STUDENTS
from edgedistill.students.base import Architecture
from edgedistill.students.custom import CustomArchitecture
from edgedistill.students.weights import (
    PROJECTION,
    PROJECTION_TEACHER,
    PUBLISHED,
    load_into,
    read_safetensors,
    weights_file,
)


def architecture(name: str) -> Architecture:
    """The architecture of a student's name. Raises RecipeError for a name that there is not."""
    entry = STUDENTS[name]
    return entry if isinstance(entry, Architecture) else CustomArchitecture(entry)


def build_backbone(
    name: str, weights: str = "none", size: int | None = None
) -> tuple[nn.Module, int]:
    """A student's trunk and the width of its features.

    Args:
        name: a registered student, a classifier of torchvision, or `timm/NAME`.
        weights: "none" (drawn from torch's global generator), "imagenet" or "imagenet-v2" (those
            published with the architecture), "embedded" (shipped with the package, or else built
            by the user, see `built_weights`) or the path of a safetensors file.
        size: input side in pixels; None is the side the architecture was published with.

    Raises:
        RecipeError: an unknown student, or a size it cannot take.
        WeightsError: weights that cannot be had or do not fit.
    """
    student = architecture(name)
    backbone, feature_dim = student.build(size)
    if weights in PUBLISHED:
        state = student.published_weights(weights, size)
        load_into(backbone, state, f"weights '{weights}' of {name}")
    elif weights != "none":
        path = weights_file(name, weights)
        load_into(backbone, read_safetensors(path), str(path))
    return backbone, feature_dim


def start_projection(name: str, weights: str, teacher: str) -> Tensor | None:
    """The map from features to a teacher's embeddings that comes with some start weights.

    ``weights`` as in `build_backbone`, ``teacher`` the fingerprint of the teacher in use. Returns
    float32 [D, d], or None where the weights bring none for this very teacher.
    """
    if weights in ("none", *PUBLISHED):
        return None
    path = weights_file(name, weights)
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get(PROJECTION_TEACHER) != teacher:
            return None
    projection = read_safetensors(path).get(PROJECTION)
    return None if projection is None else projection.float()
