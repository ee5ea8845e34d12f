"""Backbones of students by name, with the weights a recipe asks for."""

from __future__ import annotations

from torch import Tensor, nn

from edgedistill import callbacks
from edgedistill.registries import STUDENTS
from edgedistill.students.base import Architecture
from edgedistill.students.custom import CustomArchitecture
from edgedistill.students.start import StartWeights, read_start_weights
from edgedistill.students.weights import PUBLISHED, load_into


def architecture(name: str) -> Architecture:
    """The architecture of a student's name. Raises RecipeError for a name that there is not."""
    entry = STUDENTS[name]
    return entry if isinstance(entry, Architecture) else CustomArchitecture(entry)


def build_backbone(
    name: str, weights: str = "none", size: int | None = None
) -> tuple[nn.Module, int]:
    """A student's trunk and the width of its features.

    A note says what of a file or run was loaded, and what was left out.

    Args:
        name: a registered student, a classifier of torchvision, or `timm/NAME`.
        weights: "none" (drawn from torch's global generator), "imagenet" or "imagenet-v2" (those
            published with the architecture), "embedded" (shipped with the package, or else built
            by the user, see `built_weights`), a file of weights or the folder of a finished run,
            see `read_start_weights`.
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
        start = read_start_weights(name, weights)
        state, omitted = student.trunk_state(start.state, backbone)
        load_into(backbone, state, start.origin)
        if weights != "embedded":
            callbacks.current().on_note(_summary(start, state, omitted))
    return backbone, feature_dim


def start_projection(
    name: str, weights: str, teacher: str, width: int | None = None
) -> Tensor | None:
    """The map from features to a teacher's embeddings that comes with some start weights.

    A CLIP checkpoint does not name the teacher that its student was distilled from: its projection
    is taken where it has the teacher's `width`, with a warning.

    Args:
        name, weights: as in `build_backbone`.
        teacher: fingerprint of the teacher in use.
        width: dimensions of that teacher's embeddings.

    Returns:
        float32 [D, d], or None where the weights bring none for this very teacher.
    """
    if weights in ("none", *PUBLISHED):
        return None
    start = read_start_weights(name, weights)
    projection = start.projection
    if projection is None or start.projection_teacher == teacher:
        return projection
    shape = f"projection of {projection.shape[1]} features to {projection.shape[0]} dimensions"
    callback = callbacks.current()
    if start.projection_teacher is None and projection.shape[0] == width:
        callback.on_warning(
            f"student.weights: {start.origin} does not say which CLIP model its {shape} belongs "
            "to; it is of use only where that is teacher.model or the model's own teacher was"
        )
        return projection
    if weights != "embedded":
        callback.on_note(
            f"student.weights: {start.origin}: its {shape} is of another teacher and left out"
        )
    return None


def _summary(start: StartWeights, state: dict[str, Tensor], omitted: list[str]) -> str:
    parts = f"{len(state)} tensors of the trunk loaded"
    if start.projection is not None:
        parts += f", and a projection to {len(start.projection)} dimensions read"
    left_out = [f"the classifier ({', '.join(omitted)})"] if omitted else []
    left_out += start.omitted
    if left_out:
        parts += f"; left out: {', '.join(left_out)}"
    return f"student.weights: {start.origin}: {parts}"
