"""Evaluate: metrics of the student on the test images, and of the teacher beside it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedistill import callbacks
from edgedistill.data.images import LabelledImages
from edgedistill.data.protocols.split import MEASURED, training_hybridness
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.openset.keep_curve import h_score_by_keep
from edgedistill.openset.shift import describe_unlabelled
from edgedistill.recipe.schema import OpenSetSection
from edgedistill.runs.stages.calibrate import Calibrated
from edgedistill.runs.stages.plain import zero_shot_outputs
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.workspace import Workspace
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class Evaluated:
    """Outputs of `Evaluate`.

    Attributes:
        target: the student's answers to the test images, or to those without labels.
        metrics: metrics.json, but for the run's times.
    """

    target: Outputs
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Evaluate:
    """The stage that measures; nothing before it has seen a label of the target.

    Attributes:
        teacher_batch: images that the teacher embeds at once, at most.
        protocol, method, student, seed: for metrics.json, whose reader may have no recipe.
    """

    openset: OpenSetSection
    channels_last: bool
    teacher_batch: int
    protocol: str
    method: str
    student: str
    seed: int

    def __call__(
        self, workspace: Workspace, prepared: Prepared, calibrated: Calibrated
    ) -> Evaluated:
        """Answer the test images, and measure those with labels at the calibrated threshold."""
        dataset, threshold = prepared.dataset, calibrated.threshold
        split = dataset.split
        target = self._answers(workspace, prepared)
        measured = split.test_kind in MEASURED
        by_keep = None
        if measured:
            by_keep = h_score_by_keep(calibrated.val.scores, target, self.openset.keep)
        source = evaluate(calibrated.val, threshold=threshold, known=split.known)
        training = np.bincount(prepared.images.train.labels, minlength=len(split.known))
        metrics = {
            "test_kind": split.test_kind,
            "target": None,
            "h_score_by_keep": by_keep,
            "source_val": {
                key: source[key] for key in ("accuracy", "known_acceptance", "images_known")
            },
            "sources": list(split.sources),
            "classes": list(split.known),
            "protocol": self.protocol,
            "hybridness": training_hybridness(dataset.index, split),
            "teacher": self._teacher(prepared),
            "openset": {
                "score": self.openset.score,
                "threshold": threshold,
                "acceptance": self.openset.keep,
            },
            "seed": self.seed,
            "method": self.method,
            "student": self.student,
        }
        if measured:
            metrics["target"] = {
                "domain": split.target,
                **evaluate(target, threshold=threshold, known=split.known, training=training),
            }
        if prepared.images.source_unknown is not None:
            unknown = self._predict(workspace, prepared, prepared.images.source_unknown)
            metrics["source_open_set"] = evaluate(
                calibrated.val.joined(unknown),
                threshold=threshold,
                known=split.known,
                training=training,
            )
        if split.test_kind == "unlabelled":
            unlabelled = describe_unlabelled(calibrated.val.scores, target.scores, threshold)
            metrics["unlabelled"] = {"domain": split.target, **unlabelled}
            _warn_of_shift(split.target, unlabelled["shift"])
        return Evaluated(target, metrics)

    def _answers(self, workspace: Workspace, prepared: Prepared) -> Outputs:
        if not len(prepared.images.target):
            return Outputs.empty(len(prepared.dataset.split.known))
        return self._predict(workspace, prepared, prepared.images.target)

    def _predict(self, workspace: Workspace, prepared: Prepared, images: LabelledImages) -> Outputs:
        return predict(
            prepared.student,
            prepared.openset,
            images,
            device=workspace.device,
            channels_last=self.channels_last,
        )

    def _teacher(self, prepared: Prepared) -> dict[str, Any] | None:
        """Zero-shot on the target, with max cosine calibrated on the same validation images."""
        if prepared.teacher is None or prepared.images.teacher_target is None:
            return None
        outputs = zero_shot_outputs(prepared, self.teacher_batch)
        if not outputs:
            return None
        val, target = outputs
        threshold = calibrate(val.scores, self.openset.keep)
        metrics = evaluate(target, threshold=threshold, known=prepared.dataset.split.known)
        metrics.pop("per_class")
        return {"name": prepared.teacher.name, "target_accuracy": metrics["accuracy"], **metrics}


def _warn_of_shift(name: str | None, shift: dict[str, Any] | None) -> None:
    if shift is not None and shift["far"]:
        callbacks.current().on_warning(
            f"the images of {name} look far from the training domains: a source-validation image "
            f"outscores one of them {100 * shift['auroc']:.0f} % of the time (50 % is no "
            f"difference, {100 * shift['bound']:.0f} % the bound of this warning); label some of "
            "them before you rely on the answers"
        )
