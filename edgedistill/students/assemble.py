"""Students put together: a backbone with its start weights, and a method's head."""

from typing import Any

from torch import Tensor

from edgedistill.methods import Method
from edgedistill.students.build import architecture, build_backbone, start_projection
from edgedistill.students.student import Student


def assemble_student(
    model: str,
    method: Method[Any, Any],
    classes: int,
    *,
    weights: str = "none",
    size: int | None = None,
    teacher: str | None = None,
    freeze_bn: bool = False,
) -> Student:
    """A student on the CPU; values without start weights come from torch's global generator.

    Args:
        model: a registered student, a classifier of torchvision, or `timm/NAME`.
        classes: number of known classes, C.
        weights: where the backbone starts from, see `build_backbone`.
        size: input side in pixels, None for the side the architecture was published with.
        teacher: fingerprint of the teacher in use; start weights that were distilled from it bring
            the projection that the head starts from.
        freeze_bn: keep the backbone's batch-norm statistics as they are.

    Raises:
        RecipeError: an unknown model, or a size it cannot take.
        WeightsError: weights that cannot be had or do not fit.
    """
    return assemble_with_projection(
        model, method, classes, weights=weights, size=size, teacher=teacher, freeze_bn=freeze_bn
    )[0]


def assemble_with_projection(
    model: str,
    method: Method[Any, Any],
    classes: int,
    *,
    weights: str,
    size: int | None,
    teacher: str | None,
    freeze_bn: bool,
) -> tuple[Student, Tensor | None]:
    """`assemble_student`, and the projection that its start weights brought, float32 `[D, d]`.

    The projection is None where they brought none into the space of `teacher`, whatever the
    method's head makes of it.
    """
    backbone, width = build_backbone(model, weights, size)
    embedding_dim = None if method.text is None else method.text.pooled.shape[1]
    projection = start_projection(model, weights, teacher, embedding_dim) if teacher else None
    head = method.head(width, classes, projection)
    network = architecture(model)
    student = Student(backbone, head, freeze_bn=freeze_bn, mean=network.mean, std=network.std)
    return student, projection
