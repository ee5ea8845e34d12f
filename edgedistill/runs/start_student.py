"""The student as a run finds it: its start weights, answering by the class texts, untrained."""

from copy import deepcopy
from typing import NamedTuple

from torch import Tensor

from edgedistill.methods.heads import ProjectorHead, PromptedHead
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.students import Student

SCORE = "max_cosine"


class StartStudent(NamedTuple):
    """Start weights with a projection into the teacher's space, as an open-set classifier.

    Attributes:
        student: classifies by the largest cosine with a class's texts, as CLIP does.
        openset: scores by that cosine.
    """

    student: Student
    openset: OpenSetHead


def start_student(
    student: Student, projection: Tensor | None, text: TextBank | None
) -> StartStudent | None:
    """A copy of an untrained student that needs no training; None without what it answers by.

    Args:
        student: with its start weights.
        projection: that came with them, float32 `[D, d]`.
        text: texts of the known classes in the same space.
    """
    if projection is None or text is None:
        return None
    width, features = projection.shape
    head = PromptedHead(ProjectorHead(features, width, projection), text.to(projection.device))
    copy = Student(
        deepcopy(student.backbone),
        head,
        freeze_bn=student.freeze_bn,
        mean=student.mean,
        std=student.std,
    )
    openset = OpenSetHead(
        SCORE, mean=student.mean, std=student.std, texts=text.references.to(projection.device)
    )
    return StartStudent(copy, openset)
