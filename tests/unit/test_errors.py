"""Codes of errors, which programs of users may compare with."""

from __future__ import annotations

from edgedistill import errors
from edgedistill.runtime import UnreadableImage

CODES = {
    "EdgeDistillError": "error",
    "UsageError": "usage",
    "MissingPackageError": "missing-package",
    "RecipeError": "recipe",
    "DataError": "data",
    "WeightsError": "weights",
    "CacheError": "cache",
    "DamagedCacheError": "damaged-cache",
    "TrainingError": "training",
    "DivergedError": "diverged",
    "RunFolderError": "run-folder",
    "ExportError": "export",
    "ExportRefused": "export-refused",
    "ModelFileError": "model-file",
    "BenchError": "bench",
    "SweepError": "sweep",
    "OutputError": "output",
    "UnreadableImage": "unreadable-image",
}


def test_every_kind_of_error_has_the_code_it_had() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    kinds = [kind for kind in kinds if issubclass(kind, errors.EdgeDistillError)]
    assert {kind.__name__: kind.code for kind in (*kinds, UnreadableImage)} == CODES


def test_a_message_is_one_line_whatever_a_file_holds() -> None:
    error = errors.DataError("data: the class 'two\nlines\x1b[31m \u2028caf\udce9' is écru 漢")
    assert str(error) == "data: the class 'two\\nlines\\x1b[31m \\u2028caf\\udce9' is écru 漢"
