"""The report of a finished run: pictures and one self-contained page."""

from edgedistill.report.data import (
    AnsweredImages,
    FeatureMaps,
    Kind,
    ReportData,
    SampleImages,
    kinds,
    sample_answers,
    sample_rows,
)
from edgedistill.report.html import write_report

__all__ = [
    "AnsweredImages",
    "FeatureMaps",
    "Kind",
    "ReportData",
    "SampleImages",
    "kinds",
    "sample_answers",
    "sample_rows",
    "write_report",
]
