"""The validation of a pretraining: cosine to the teacher, and zero-shot answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.methods.heads import PromptedHead
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset import evaluate
from edgedistill.openset.head import OpenSetHead
from edgedistill.students import Student
from edgedistill.train.context import TrainContext
from edgedistill.train.predict import predict, project


@dataclass(frozen=True)
class ZeroShot:
    """Labelled images that a student answers by its cosines with class texts.

    Attributes:
        classes: names of the C known classes.
        text: their texts, on the device.
        images: at the student's input size; label -1 for unknown classes.
    """

    classes: tuple[str, ...]
    text: TextBank
    images: LabelledImages

    def figures(self, context: TrainContext, student: Student) -> dict[str, float]:
        """Accuracy and, where there are unknown classes, AUROC of the largest cosine."""
        prompted = Student(
            student.backbone,
            PromptedHead(student.head, self.text),
            freeze_bn=student.freeze_bn,
            mean=student.mean,
            std=student.std,
        )
        openset = OpenSetHead(
            "max_cosine", mean=student.mean, std=student.std, texts=self.text.references
        )
        was_training = student.training
        outputs = predict(
            prompted.eval().to(context.device),
            openset.to(context.device),
            self.images,
            device=context.device,
            channels_last=context.settings.channels_last,
            processes=context.processes,
        )
        student.train(was_training)
        metrics = evaluate(outputs, threshold=-math.inf, known=self.classes)
        named = {"val_accuracy": metrics["accuracy"], "val_auroc": metrics["auroc"]}
        return {name: float(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class TeacherCosine:
    """Validator of a pretraining; the cosine to the teacher selects the weights.

    Attributes:
        images: n held-out images at the student's input size.
        embeddings: the teacher's of the same images, unit-norm float32 `[n, D]`.
        zero_shot: None without labelled images.
    """

    images: ImageSet
    embeddings: NDArray[np.float32]
    zero_shot: ZeroShot | None

    @property
    def figure(self) -> str:
        return "val_cosine"

    def __call__(self, context: TrainContext, student: Student) -> dict[str, float]:
        """The mean cosine and the zero-shot figures."""
        projections = project(
            student,
            self.images,
            device=context.device,
            channels_last=context.settings.channels_last,
            processes=context.processes,
        )
        cosines = np.einsum("nd,nd->n", projections.astype(np.float64), self.embeddings)
        figures = {self.figure: float(cosines.mean())}
        if self.zero_shot is not None:
            figures |= self.zero_shot.figures(context, student)
        return figures

    def standard_error(self, value: float) -> float:
        """Not known from the mean alone."""
        return 0.0
