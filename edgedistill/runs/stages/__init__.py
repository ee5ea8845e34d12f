"""The stages of a run. Each holds its sections of the recipe and is called with earlier outputs."""

from edgedistill.runs.stages.calibrate import Calibrate, Calibrated
from edgedistill.runs.stages.check import Check
from edgedistill.runs.stages.evaluate import Evaluate, Evaluated
from edgedistill.runs.stages.prepare import Prepare, Prepared
from edgedistill.runs.stages.report import Report
from edgedistill.runs.stages.start import Start
from edgedistill.runs.stages.teach import Teach
from edgedistill.runs.stages.train import Train, Trained

__all__ = [
    "Calibrate",
    "Calibrated",
    "Check",
    "Evaluate",
    "Evaluated",
    "Prepare",
    "Prepared",
    "Report",
    "Start",
    "Teach",
    "Train",
    "Trained",
]
