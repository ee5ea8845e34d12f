"""Files of a sweep's finished runs, and what they answer on the target.

What is done already is not done again, until the run, a file, the int8 policy, the code that
exports and answers, or a version of what it is done with changes.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from edgedistill._utils.atomic import write_json
from edgedistill.data.images import LabelledImages
from edgedistill.errors import EdgeDistillError
from edgedistill.export.build import export_fp32, export_int8
from edgedistill.export.finished import load_finished
from edgedistill.export.images import ExportImages
from edgedistill.export.int8.policy import POLICY_FILE
from edgedistill.export.measure import measure
from edgedistill.export.session import answers, open_session
from edgedistill.run.folder import RunFolder
from edgedistill.runtime.contract import read_model
from edgedistill.sweep.folder import SweepFolder

FILES = {"fp32": "student.onnx", "int8": "student-int8.onnx"}
# What files are made with and answer with, besides this package.
VERSIONS = ("onnx", "onnxruntime", "torch")
CODE = ("export", "methods", "openset", "students", "runtime")


def exported(name: str, folder: SweepFolder, int8: bool) -> dict[str, Any]:
    """A finished run's files and what they answer, read back where it is done already.

    Returns:
        Precision -> metrics on the target, threshold, bytes and sha256 of its file; an int8 file
        that lost too many answers has its reason under "refused" instead.

    Raises:
        EdgeDistillError: the run cannot be read, its fp32 file fails a check, or a file cannot be
            written.
    """
    done = already_exported(name, folder, int8)
    if done is not None:
        return done
    place = folder.run(name)
    key = fingerprint(place)
    run = load_finished(RunFolder(place))
    target = ExportImages(run, run.recipe.student.size).target()
    export_fp32(run, place / FILES["fp32"])
    result: dict[str, Any] = {"fp32": answered(place / FILES["fp32"], target)}
    if int8:
        result["int8"] = _in_int8(run, place / FILES["int8"], target)
    folder.files.mkdir(exist_ok=True)
    write_json(_kept(name, folder), {"key": key, **result})
    return result


def already_exported(name: str, folder: SweepFolder, int8: bool) -> dict[str, Any] | None:
    """What `exported` returned for a run, None where something of it is missing or has changed."""
    place = folder.run(name)
    wanted = ["fp32", "int8"] if int8 else ["fp32"]
    done = kept_result(_kept(name, folder), fingerprint(place)) or {}
    if all(_same(place / FILES[p], done.get(p)) for p in wanted):
        return {p: done[p] for p in wanted}
    return None


def _kept(name: str, folder: SweepFolder) -> Path:
    return folder.files / f"{name}.json"


def _in_int8(run: Any, path: Path, target: LabelledImages) -> dict[str, Any]:
    try:
        int8 = export_int8(run, path).int8
    except EdgeDistillError as error:
        # The verdict on the answers is a result; a full disk is not.
        if not str(error).startswith("int8 loses"):
            raise
        path.unlink(missing_ok=True)
        return {"refused": str(error)}
    assert int8 is not None
    return answered(path, target) | {"nodes": int8.nodes, "spared": int8.kept_float}


def answered(path: Path, target: LabelledImages) -> dict[str, Any]:
    """Metrics of a file's own answers on the target's images, at its own threshold."""
    data, info = read_model(path)
    metrics = measure(answers(open_session(data), target.images), target.labels, info.threshold)
    sha256 = hashlib.sha256(data).hexdigest()
    return {**metrics, "threshold": info.threshold, "bytes": len(data), "sha256": sha256}


def fingerprint(run: Path) -> str:
    """Changes with what a run's files come from: its results, the policy, `CODE`, `VERSIONS`."""
    package = Path(__file__).parents[1]
    code = [p for name in CODE for p in sorted((package / name).rglob("*.py"))]
    results = [run / name for name in ("student.safetensors", "openset.json")]
    parts = [_sha256(path) for path in (*results, POLICY_FILE, *code)]
    parts += [metadata.version(name) for name in VERSIONS]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def kept_result(path: Path, key: str) -> dict[str, Any] | None:
    """What an earlier start wrote, None when there is nothing or it was about other files."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.get("key") == key else None


def _same(path: Path, entry: Mapping[str, Any] | None) -> bool:
    """Whether a file is the one that was answered with; of a refused one there is none."""
    if entry is None:
        return False
    return "refused" in entry or _sha256(path) == entry.get("sha256")


def _sha256(path: Path) -> str:
    """ "" where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
