"""The ONNX exporter: one file with preprocessing, student and rejection inside."""

from __future__ import annotations

from pathlib import Path

from edgedistill.export.base import Exporter, ExportOptions
from edgedistill.export.build import Exported, export_fp32, export_int8
from edgedistill.export.finished import FinishedRun
from edgedistill.registries import EXPORTERS


@EXPORTERS.register("onnx")
class OnnxExporter(Exporter):
    """Writer of ONNX files in float32 or with the nodes of the int8 policy in int8."""

    summary = "one self-contained ONNX file with the rejection inside"
    suffix = ".onnx"
    precisions = ("fp32", "int8")

    def export(self, run: FinishedRun, path: Path, options: ExportOptions) -> Exported:
        """Write and check the file, see `export_fp32` and `export_int8`."""
        if options.precision == "int8":
            return export_int8(run, path, options.size, options.max_drop)
        return export_fp32(run, path, options.size)
