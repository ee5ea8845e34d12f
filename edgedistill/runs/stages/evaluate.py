"""Evaluate: metrics of the student on the target, and of the teacher beside it."""

from dataclasses import dataclass
from typing import Any

from edgedistill.data.protocols.split import training_hybridness
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.openset.keep_curve import h_score_by_keep
from edgedistill.recipe.schema import OpenSetSection
from edgedistill.runs.stages.calibrate import Calibrated
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.workspace import Workspace
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class Evaluated:
    """Outputs of `Evaluate`.

    Attributes:
        target: the student's answers to the target's test images.
        metrics: metrics.json, but for the run's times.
    """

    target: Outputs
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Evaluate:
    """The stage that measures; nothing before it has seen a label of the target.

    Attributes:
        protocol, method, student, seed: for metrics.json, whose reader may have no recipe.
    """

    openset: OpenSetSection
    channels_last: bool
    protocol: str
    method: str
    student: str
    seed: int

    def __call__(
        self, workspace: Workspace, prepared: Prepared, calibrated: Calibrated
    ) -> Evaluated:
        """Answer the target's test images and measure at the calibrated threshold."""
        target = predict(
            prepared.student,
            prepared.openset,
            prepared.images.target,
            device=workspace.device,
            channels_last=self.channels_last,
        )
        dataset, threshold = prepared.dataset, calibrated.threshold
        known = dataset.split.known
        source = evaluate(calibrated.val, threshold=threshold, known=known)
        metrics = {
            "target": {
                "domain": dataset.split.target,
                **evaluate(target, threshold=threshold, known=known),
            },
            "h_score_by_keep": h_score_by_keep(calibrated.val.scores, target, self.openset.keep),
            "source_val": {
                key: source[key] for key in ("accuracy", "known_acceptance", "images_known")
            },
            "sources": list(dataset.split.sources),
            "classes": list(known),
            "protocol": self.protocol,
            "hybridness": training_hybridness(dataset.index, dataset.split),
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
        return Evaluated(target, metrics)

    def _teacher(self, prepared: Prepared) -> dict[str, Any] | None:
        """Zero-shot on the target, with max cosine calibrated on the same validation images."""
        teacher, text, images = prepared.teacher, prepared.text, prepared.images
        if teacher is None or text is None:
            return None
        assert images.teacher_val is not None and images.teacher_target is not None
        val = zero_shot(teacher, text, images.teacher_val)
        target = zero_shot(teacher, text, images.teacher_target)
        threshold = calibrate(val.scores, self.openset.keep)
        metrics = evaluate(target, threshold=threshold, known=prepared.dataset.split.known)
        metrics.pop("per_class")
        return {"name": teacher.name, "target_accuracy": metrics["accuracy"], **metrics}
