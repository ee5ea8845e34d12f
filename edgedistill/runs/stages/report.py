"""Report: report.html with its pictures, and metrics.json, which marks a run as finished."""

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import callbacks
from edgedistill._utils.atomic import write_json
from edgedistill.openset import Outputs, too_few_images
from edgedistill.recipe.schema import ReportSection
from edgedistill.report import (
    AnsweredImages,
    FeatureMaps,
    ReportData,
    SampleImages,
    sample_answers,
    sample_rows,
    write_report,
)
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.stages.calibrate import Calibrated
from edgedistill.runs.stages.evaluate import Evaluated
from edgedistill.runs.stages.feature_maps import SMALLEST, feature_maps
from edgedistill.runs.stages.prepare import Prepared, data_warnings, file_warnings
from edgedistill.runs.stages.train import Trained


@dataclass(frozen=True)
class Report:
    """The last stage.

    Attributes:
        report: its optional parts.
        seed: draws the images to show.
        teacher_batch: images that the teacher embeds at once, at most.
    """

    report: ReportSection
    seed: int
    teacher_batch: int

    def __call__(
        self,
        folder: RunFolder,
        prepared: Prepared,
        trained: Trained,
        calibrated: Calibrated,
        evaluated: Evaluated,
        metrics: dict[str, Any],
    ) -> None:
        """Write the report of `metrics`, and then them."""
        val, target = calibrated.val, evaluated.target
        data = ReportData(
            name=folder.path.name,
            metrics=metrics,
            history=trained.history,
            known=prepared.dataset.split.known,
            source_val_scores=val.scores,
            source_val_correct=val.predictions == val.labels,
            target_scores=target.scores,
            target_labels=target.labels,
            target_predictions=target.predictions,
            samples=self._samples(prepared, target, target.scores >= calibrated.threshold),
            recipe=folder.recipe.read_text(encoding="utf-8"),
            environment=prepared.environment,
            warnings=_warnings(prepared, metrics["openset"]["acceptance"]),
            next_command=f"edgedistill export {shlex.quote(str(folder.path))}",
            feature_maps=self._feature_maps(prepared),
        )
        write_report(folder.path, data)
        write_json(folder.metrics, metrics)

    def _feature_maps(self, prepared: Prepared) -> FeatureMaps | None:
        if not self.report.tsne:
            return None
        maps = feature_maps(prepared, seed=self.seed, batch=self.teacher_batch)
        if maps is None:
            callbacks.current().on_warning(
                f"report.tsne: fewer than {SMALLEST} labelled test images; nothing is drawn"
            )
        return maps

    def _samples(
        self, prepared: Prepared, target: Outputs, accepted: NDArray[np.bool_]
    ) -> AnsweredImages | None:
        """Images to show with their answers, None where nothing was tested."""
        images = prepared.images.target.images
        if not len(images):
            return None
        if prepared.dataset.unlabelled is not None:
            rows = sample_answers(accepted, seed=self.seed)
            return AnsweredImages(
                images[rows], target.predictions[rows], target.scores[rows], accepted[rows]
            )
        rows = sample_rows(target.labels, target.predictions, accepted, seed=self.seed)
        index = prepared.dataset.index
        return SampleImages(
            images=images[rows],
            names=[index.classes[index.label[row]] for row in images.rows[rows]],
            labels=target.labels[rows],
            predictions=target.predictions[rows],
            scores=target.scores[rows],
            accepted=accepted[rows],
        )


def _warnings(prepared: Prepared, keep: float) -> list[str]:
    images = prepared.images
    files = file_warnings(images.train, images.val, images.target)
    few = too_few_images(len(images.val), keep)
    lines = [*data_warnings(prepared.dataset), *files, *([few] if few else [])]
    return [*lines, *prepared.warnings]
