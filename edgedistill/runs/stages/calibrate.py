"""Calibrate: the threshold, from source validation alone, to openset.json."""

from dataclasses import dataclass

from edgedistill._utils.atomic import write_json
from edgedistill.openset import Outputs, calibrate
from edgedistill.recipe.schema import OpenSetSection
from edgedistill.runs.stages.prepare import Prepared
from edgedistill.runs.workspace import Workspace
from edgedistill.train.predict import predict


@dataclass(frozen=True)
class Calibrated:
    """Outputs of `Calibrate`; the prepared head has the threshold.

    Attributes:
        val: the trained student's answers to source validation.
        threshold: images of a lower score are unknown; -inf accepts all.
    """

    val: Outputs
    threshold: float


@dataclass(frozen=True)
class Calibrate:
    """The stage that decides when to answer *unknown*."""

    openset: OpenSetSection
    channels_last: bool

    def __call__(self, workspace: Workspace, prepared: Prepared) -> Calibrated:
        """Answer source validation and take the threshold from its scores."""
        val = predict(
            prepared.student,
            prepared.openset,
            prepared.images.val,
            device=workspace.device,
            channels_last=self.channels_last,
        )
        threshold = calibrate(val.scores, self.openset.keep)
        prepared.openset.threshold.fill_(threshold)
        write_json(
            workspace.folder.openset,
            {
                "score": self.openset.score,
                "threshold": threshold,
                "acceptance": self.openset.keep,
                "calibrated_on": "source validation",
                "rule": "accept when score >= threshold, split-conformal quantile",
                "images": len(val.labels),
            },
        )
        return Calibrated(val, threshold)
