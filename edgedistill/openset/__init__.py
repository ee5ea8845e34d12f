"""Open-set recognition: scores and the head that ships in torch, thresholds and metrics in NumPy.

Importing the package imports no torch.
"""

from edgedistill.openset.evaluate import Outputs, evaluate
from edgedistill.openset.metrics import ProbabilityRange, compute_metrics
from edgedistill.openset.threshold import (
    calibrate,
    images_needed,
    threshold_keeping,
    too_few_images,
)
from edgedistill.registries import SCORES

__all__ = [
    "SCORES",
    "Outputs",
    "ProbabilityRange",
    "calibrate",
    "compute_metrics",
    "evaluate",
    "images_needed",
    "threshold_keeping",
    "too_few_images",
]
