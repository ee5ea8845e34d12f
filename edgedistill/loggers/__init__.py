"""Loggers: callbacks that send a run's curves, settings and results to an experiment tracker.

A recipe names them in `log.to`. Adding one is adding a file here whose class registers itself with
`LOGGERS.register`.
"""

from edgedistill.loggers.base import Logger
from edgedistill.registries import LOGGERS

__all__ = ["LOGGERS", "Logger"]
