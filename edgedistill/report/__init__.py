"""The report of a finished run: pictures and one self-contained page."""

from edgedistill.report.data import Kind, ReportData, SampleImages, kinds, sample_rows
from edgedistill.report.html import write_report

__all__ = ["Kind", "ReportData", "SampleImages", "kinds", "sample_rows", "write_report"]
