"""Export of a sweep's finished runs, and metrics of the files on the target.

Results are recorded, and used until the run, a file, the int8 policy, the code that exports and
evaluates, or a version of the packages it uses changes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from edgedistill._utils.atomic import write_json
from edgedistill.data.images import LabelledImages
from edgedistill.errors import ExportRefused
from edgedistill.export.build import export_fp32, export_int8
from edgedistill.export.images import ExportImages
from edgedistill.export.int8.policy import POLICY_FILE
from edgedistill.export.measure import measure_answers
from edgedistill.export.session import open_session, run_model
from edgedistill.runs.finished import load_finished
from edgedistill.runs.folder import RunFolder
from edgedistill.runtime.contract import read_model
from edgedistill.sweep.folder import SweepFolder

FILES = {"fp32": "student.onnx", "int8": "student-int8.onnx"}
# Packages besides this one that files are exported and evaluated with.
VERSIONS = ("onnx", "onnxruntime", "torch")
CODE = ("export", "methods", "openset", "students", "runtime")


class RunExporter(Protocol):
    """Writer of the files of one finished run; a method returns the metrics of what it wrote."""

    def fp32(self, path: Path) -> dict[str, Any]:
        """Write the float32 file. Raises ExportError when it fails a check."""

    def int8(self, path: Path) -> dict[str, Any]:
        """Write the int8 file. Raises ExportRefused when it loses too many answers."""


class OnnxExporter(RunExporter):
    """Writer of ONNX files, with their metrics on the target.

    Raises: RunFolderError when the run cannot be read.
    """

    def __init__(self, run: Path) -> None:
        self._run = load_finished(RunFolder(run))
        self._target = ExportImages(self._run, self._run.recipe.student.size).target()

    def fp32(self, path: Path) -> dict[str, Any]:
        export_fp32(self._run, path)
        return evaluate_file(path, self._target)

    def int8(self, path: Path) -> dict[str, Any]:
        int8 = export_int8(self._run, path).int8
        assert int8 is not None
        metrics = evaluate_file(path, self._target)
        return metrics | {"nodes": int8.nodes, "kept_float": int8.kept_float}


def export_and_evaluate(
    name: str,
    folder: SweepFolder,
    int8: bool,
    open_run: Callable[[Path], RunExporter] = OnnxExporter,
) -> dict[str, Any]:
    """Export a finished run and evaluate its files on the target, or read the recorded result.

    `open_run` is given the run's folder.

    Returns:
        Precision -> metrics on the target, threshold, bytes and sha256 of its file; an int8 file
        that lost too many answers has its reason under "refused" instead.

    Raises:
        RunFolderError: the run cannot be read.
        ExportError: its fp32 file fails a check.
        OutputError: a file cannot be written.
    """
    done = read_exported(name, folder, int8)
    if done is not None:
        return done
    place = folder.run(name)
    key = fingerprint(place)
    exporter = open_run(place)
    result = {"fp32": exporter.fp32(place / FILES["fp32"])}
    if int8:
        result["int8"] = _export_int8(exporter, place / FILES["int8"])
    folder.files.mkdir(exist_ok=True)
    write_json(_record_file(name, folder), {"key": key, **result})
    return result


def read_exported(name: str, folder: SweepFolder, int8: bool) -> dict[str, Any] | None:
    """The recorded result of `export_and_evaluate`; None where a file is missing or changed."""
    place = folder.run(name)
    wanted = ["fp32", "int8"] if int8 else ["fp32"]
    done = read_record(_record_file(name, folder), fingerprint(place)) or {}
    if all(_is_current(place / FILES[p], done.get(p)) for p in wanted):
        return {p: done[p] for p in wanted}
    return None


def _record_file(name: str, folder: SweepFolder) -> Path:
    return folder.files / f"{name}.json"


def _export_int8(exporter: RunExporter, path: Path) -> dict[str, Any]:
    try:
        return exporter.int8(path)
    except ExportRefused as error:
        path.unlink(missing_ok=True)
        return {"refused": str(error)}


def evaluate_file(path: Path, target: LabelledImages) -> dict[str, Any]:
    """Metrics of a file on the target's images, at its own threshold; bytes and SHA-256."""
    data, info = read_model(path)
    metrics = measure_answers(
        run_model(open_session(data), target.images), target.labels, info.threshold
    )
    sha256 = hashlib.sha256(data).hexdigest()
    return {**metrics, "threshold": info.threshold, "bytes": len(data), "sha256": sha256}


def fingerprint(
    run: Path, code: Sequence[str] = CODE, version: Callable[[str], str] = metadata.version
) -> str:
    """SHA-256 over what a run's files depend on: its results, the policy, code and `VERSIONS`.

    Args:
        run: the run's folder.
        code: packages of edgedistill whose source counts.
        version: name of an installed distribution -> its version.
    """
    package = Path(__file__).parents[1]
    sources = [p for name in code for p in sorted((package / name).rglob("*.py"))]
    results = [run / name for name in ("student.safetensors", "openset.json")]
    parts = [_sha256(path) for path in (*results, POLICY_FILE, *sources)]
    parts += [version(name) for name in VERSIONS]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def read_record(path: Path, key: str) -> dict[str, Any] | None:
    """A recorded JSON object of that key; None when it is missing or has another key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None


def _is_current(path: Path, entry: Mapping[str, Any] | None) -> bool:
    """Whether a file is the one of a recorded entry; a refused file has none."""
    if entry is None:
        return False
    return "refused" in entry or _sha256(path) == entry.get("sha256")


def _sha256(path: Path) -> str:
    """SHA-256 of a file in hex, "" where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
