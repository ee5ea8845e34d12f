"""The stages of a run. Each holds its sections of the recipe and is called with earlier outputs."""

from edgedistill.run.stages.calibrate import Calibrate, Calibrated
from edgedistill.run.stages.evaluate import Evaluate, Evaluated
from edgedistill.run.stages.prepare import Prepare, Prepared
from edgedistill.run.stages.report import Report
from edgedistill.run.stages.teach import Teach
from edgedistill.run.stages.train import Train, Trained

__all__ = [
    "Calibrate",
    "Calibrated",
    "Evaluate",
    "Evaluated",
    "Prepare",
    "Prepared",
    "Report",
    "Teach",
    "Train",
    "Trained",
]
