"""Scores, thresholds and metrics of open-set recognition: NumPy in, NumPy out."""

from edgedistill.openset.evaluate import Outputs, evaluate
from edgedistill.openset.scores import SCORES
from edgedistill.openset.threshold import calibrate

__all__ = ["SCORES", "Outputs", "calibrate", "evaluate"]
