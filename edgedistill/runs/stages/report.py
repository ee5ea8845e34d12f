"""Report: report.html with its pictures, and metrics.json, which marks a run as finished."""

import shlex
from dataclasses import dataclass
from typing import Any

from edgedistill._utils.atomic import write_json
from edgedistill.report import ReportData, SampleImages, sample_rows, write_report
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.stages.calibrate import Calibrated
from edgedistill.runs.stages.evaluate import Evaluated
from edgedistill.runs.stages.prepare import Prepared, data_warnings
from edgedistill.runs.stages.train import Trained


@dataclass(frozen=True)
class Report:
    """The last stage; `seed` draws the images to show."""

    seed: int

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
        accepted = target.scores >= calibrated.threshold
        shown = sample_rows(target.labels, target.predictions, accepted, seed=self.seed)
        index, images = prepared.dataset.index, prepared.images.target.images
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
            samples=SampleImages(
                images=images[shown],
                names=[index.classes[index.label[row]] for row in images.rows[shown]],
                labels=target.labels[shown],
                predictions=target.predictions[shown],
                scores=target.scores[shown],
                accepted=accepted[shown],
            ),
            recipe=folder.recipe.read_text(encoding="utf-8"),
            environment=prepared.environment,
            warnings=data_warnings(prepared.dataset),
            next_command=f"edgedistill export {shlex.quote(str(folder.path))} --onnx",
        )
        write_report(folder.path, data)
        write_json(folder.metrics, metrics)
