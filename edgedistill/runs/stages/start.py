"""Start: what the start weights are worth before training, and so what training adds to them."""

from dataclasses import dataclass
from typing import Any

from edgedistill import callbacks
from edgedistill.data.protocols.split import MEASURED
from edgedistill.openset import Outputs, calibrate, evaluate
from edgedistill.openset.shift import describe_unlabelled
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.start_student import SCORE
from edgedistill.runs.workspace import Workspace
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class Start:
    """Measurement of start weights that bring a projection into the teacher's space.

    Without one the untrained student has no answers, and there is nothing to measure.

    Attributes:
        keep: share of known images that the threshold is calibrated to keep.
    """

    keep: float
    channels_last: bool

    def validate(self, workspace: Workspace, prepared: Prepared) -> Outputs | None:
        """Answers to source validation, before training."""
        if prepared.start is None:
            return None
        val = predict(
            prepared.start.student,
            prepared.start.openset,
            prepared.images.val,
            device=workspace.device,
            channels_last=self.channels_last,
        )
        figures = evaluate(val, threshold=calibrate(val.scores, self.keep), known=_known(prepared))
        callbacks.current().on_note(
            f"start weights, no training: {100 * figures['accuracy']:.1f} % of source validation "
            "right by the class texts"
        )
        return val

    def evaluate(
        self, workspace: Workspace, prepared: Prepared, val: Outputs | None
    ) -> dict[str, Any] | None:
        """Figures on the test images, in the form of metrics.json; None without a projection.

        Args:
            val: outputs of `validate`.
        """
        if prepared.start is None or val is None:
            return None
        threshold, known = calibrate(val.scores, self.keep), _known(prepared)
        source, split = evaluate(val, threshold=threshold, known=known), prepared.dataset.split
        keys = ("accuracy", "known_acceptance", "images_known")
        metrics: dict[str, Any] = {
            "openset": {"score": SCORE, "threshold": threshold, "acceptance": self.keep},
            "source_val": {key: source[key] for key in keys},
            "target": None,
        }
        if not len(prepared.images.target):
            return metrics
        target = predict(
            prepared.start.student,
            prepared.start.openset,
            prepared.images.target,
            device=workspace.device,
            channels_last=self.channels_last,
        )
        if split.test_kind in MEASURED:
            figures = evaluate(target, threshold=threshold, known=known)
            metrics["target"] = {"domain": split.target, **figures}
        if split.test_kind == "unlabelled":
            described = describe_unlabelled(val.scores, target.scores, threshold)
            metrics["unlabelled"] = {"domain": split.target, **described}
        return metrics


def _known(prepared: Prepared) -> tuple[str, ...]:
    return prepared.dataset.split.known
