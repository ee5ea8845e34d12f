"""What an exported `.onnx` file says about itself, and whether it arrived as it was written.

Read without onnx and before onnxruntime sees the file: a file that is damaged, of another
contract, or not self-contained is refused in one line and never runs.
"""

import json
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import __version__
from edgedistill.errors import ModelFileError
from edgedistill.runtime.preprocess import RESIZE_RULE
from edgedistill.runtime.protobuf import Scan, WireError, metadata_entry, scan

CONTRACT = "1"
PREFIX = "edgedistill."
CHECKSUM_KEY = f"{PREFIX}crc32"
UNKNOWN_LABEL = -1
INPUTS = ("image", "threshold")
OUTPUTS = ("label", "score", "probabilities")
# Stands for minus infinity, which JSON and some runtimes cannot hold: nothing is rejected.
LOWEST = -3.4028234663852886e38
MAX_BYTES = 2**31
MAX_SIZE = 4096

_BLANK = "00000000"


@dataclass(frozen=True)
class ModelInfo:
    """The metadata of an exported model.

    Attributes:
        classes: names of the known classes, in the order of the probabilities.
        score: name of the openness score, such as `max_logit`.
        threshold: calibrated default; an image is known when its score reaches it.
        acceptance: share of known images the threshold was calibrated to keep.
        calibration: what it was calibrated on.
        calibration_images: how many images that were.
        size: side of the square input, pixels.
        precision: `fp32` or `int8`.
        student, method: what was trained, and how.
        version: of the edgedistill that exported it.
        recipe_sha256: of the run's resolved recipe.
        metrics: of the run, on the target and on source validation.
    """

    classes: tuple[str, ...]
    score: str
    threshold: float
    target_keep_rate: float
    calibration: str
    calibration_images: int
    size: int
    precision: str
    student: str
    method: str
    version: str
    recipe_sha256: str
    metrics: dict[str, Any]


class _Broken(Exception):
    """Why a file cannot be used; the caller knows its name."""


def read_model(path: str | Path) -> tuple[bytes, ModelInfo]:
    """Read and check an exported file.

    Returns:
        Its bytes, exactly those that were checked, and its metadata.

    Raises:
        EdgeDistillError: not there, not ONNX, truncated, damaged, not self-contained, or not of
            this contract.
    """
    path = Path(path)
    try:
        data = _read(path)
        return data, _info(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path}: {reason}; give an .onnx file") from None
    except _Broken as error:
        raise ModelFileError(f"{path}: {error}") from None


def seal(data: bytes) -> bytes:
    """A serialised ModelProto with its checksum in the metadata, renewed if there is one.

    The checksum is the CRC-32 of the file with the checksum's own eight digits read as zeros.

    Raises: EdgeDistillError when `data` is no ModelProto.
    """
    try:
        found = scan(data)
        if CHECKSUM_KEY not in found.metadata:
            data += metadata_entry(CHECKSUM_KEY, _BLANK)
            found = scan(data)
    except WireError as error:
        raise ModelFileError(f"cannot seal the model: {error}") from None
    start, end = found.metadata[CHECKSUM_KEY][1]
    return data[:start] + _checksum(data, (start, end)).encode() + data[end:]


def _read(path: Path) -> bytes:
    if path.is_dir():
        inside = path / "student.onnx"
        hint = f"did you mean {inside}" if inside.is_file() else "give an .onnx file"
        raise _Broken(f"is a folder; {hint}")
    if path.exists() and not path.is_file():
        raise _Broken("not a regular file; give an .onnx file")
    size = path.stat().st_size
    if size == 0:
        raise _Broken("the file is empty; copy or export it again")
    if size >= MAX_BYTES:
        raise _Broken("larger than 2 GiB, which no exported model is; give an .onnx file")
    return path.read_bytes()


def _info(data: bytes) -> ModelInfo:
    if data.startswith(b"version https://git-lfs"):
        raise _Broken("a Git LFS pointer instead of the model; run: git lfs pull")
    try:
        found = scan(data)
    except WireError:
        found = Scan()
    if found.graphs != 1:
        raise _Broken("not an ONNX file, or a truncated one; copy or export it again")
    _check_contract(data, found)
    if found.external:
        raise _Broken("keeps weights in other files, and the contract is one file; export it again")
    try:
        info = _parse({key: text for key, (text, _) in found.metadata.items()})
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise _Broken(
            f"metadata that contradicts the contract ({_line(error)}); export it again"
        ) from None
    inside = found.scalars.get("threshold")
    if inside is None or not math.isclose(inside, info.threshold, rel_tol=1e-6, abs_tol=1e-30):
        raise _Broken(
            f"its metadata says threshold {info.threshold:g}, its graph "
            f"{'none' if inside is None else format(inside, 'g')}; export it again"
        )
    # What the graph compares with; the metadata may hold more digits than its float32.
    return replace(info, threshold=inside)


def _check_contract(data: bytes, found: Scan) -> None:
    contract, _ = found.metadata.get(f"{PREFIX}contract", (None, None))
    if contract is None:
        raise _Broken(
            "an ONNX model without EdgeDistill's metadata; make it with: edgedistill export --onnx"
        )
    if contract != CONTRACT:
        raise _Broken(
            f"keeps contract {contract[:20]!r}, and edgedistill {__version__} reads {CONTRACT!r}; "
            "install the edgedistill that exported it, or export it again"
        )
    checksum, span = found.metadata.get(CHECKSUM_KEY, (None, (0, 0)))
    if checksum is None:
        raise _Broken(f"without its checksum {CHECKSUM_KEY}; export it again")
    if checksum != _checksum(data, span):
        raise _Broken("damaged or changed since it was exported; copy or export it again")


def _checksum(data: bytes, own: tuple[int, int]) -> str:
    view = memoryview(data)
    value = zlib.crc32(view[: own[0]])
    value = zlib.crc32(_BLANK.encode(), value)
    return f"{zlib.crc32(view[own[1] :], value):08x}"


def _parse(metadata: dict[str, str]) -> ModelInfo:
    said = {key.removeprefix(PREFIX): value for key, value in metadata.items()}
    threshold, entry = json.loads(said["threshold"]), json.loads(said["input"])
    classes, metrics = json.loads(said["classes"]), json.loads(said["metrics"])
    _require(isinstance(classes, list) and len(classes) > 0, "classes: no list of names")
    _require(all(isinstance(name, str) and name for name in classes), "classes: not all names")
    _require(len(set(classes)) == len(classes), "classes: a name twice")
    _require(said["unknown_label"] == str(UNKNOWN_LABEL), "unknown_label: not -1")
    _require(isinstance(entry["size"], int) and 1 <= entry["size"] <= MAX_SIZE, "input: size")
    _require(entry["resize"] == RESIZE_RULE, f"input: resize is not {RESIZE_RULE}")
    _require(isinstance(metrics, dict), "metrics: no object")
    value = float(threshold["value"])
    _require(math.isfinite(value), "threshold: not finite")
    return ModelInfo(
        classes=tuple(classes),
        score=said["score"],
        threshold=value,
        target_keep_rate=float(threshold["acceptance"]),
        calibration=str(threshold["calibration"]),
        calibration_images=int(threshold["images"]),
        size=entry["size"],
        precision=said["precision"],
        student=said["student"],
        method=said["method"],
        version=said["version"],
        recipe_sha256=said["recipe_sha256"],
        metrics=metrics,
    )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(what)


def _line(error: BaseException) -> str:
    said = " ".join(str(error).split())[:80]
    return f"no {said}" if isinstance(error, KeyError) else said
