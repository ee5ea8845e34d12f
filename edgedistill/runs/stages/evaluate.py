"""Evaluate: metrics of the student on the target, and of the teacher beside it."""

from dataclasses import dataclass
from typing import Any

from edgedistill.data.protocols.split import training_hybridness
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.openset.keep_curve import h_score_by_keep
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
        target: the student's answers to the target's test images.
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
        outputs = zero_shot_outputs(prepared, self.teacher_batch)
        if not outputs or prepared.teacher is None:
            return None
        val, target = outputs
        threshold = calibrate(val.scores, self.openset.keep)
        metrics = evaluate(target, threshold=threshold, known=prepared.dataset.split.known)
        metrics.pop("per_class")
        return {"name": prepared.teacher.name, "target_accuracy": metrics["accuracy"], **metrics}
