"""Contract of exported `.onnx` files: metadata, checksum, names of inputs and outputs.

A file is checked without onnx and before onnxruntime sees it: one that is damaged, of another
contract, or not self-contained is refused in one line and never runs.
"""

import json
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import __version__
from edgedistill.errors import ModelFault, ModelFileError
from edgedistill.runtime.preprocess import RESIZE_RULE
from edgedistill.runtime.protobuf import Scan, WireError, metadata_entry, scan

CONTRACT = "1"
PREFIX = "edgedistill."
CHECKSUM_KEY = f"{PREFIX}crc32"
UNKNOWN_LABEL = -1
INPUTS = ("image", "threshold")
OUTPUTS = ("label", "score", "probabilities")
# Least float32, in place of minus infinity, which JSON and some runtimes cannot hold.
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
        target_keep_rate: share of known images that the threshold was calibrated to keep.
        calibration: the images and the rule it was calibrated with, in words.
        calibration_images: number of those images.
        size: side of the square input, pixels.
        precision: `fp32` or `int8`.
        student, method: names of the network and of the training method.
        version: of the edgedistill that exported it.
        recipe_sha256: of the run's resolved recipe.
        metrics: rates on "target" and "source_val", as in metrics.json.
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
    """The reason why a file cannot be used, without the file's name."""

    def __init__(self, reason: str, fault: ModelFault) -> None:
        super().__init__(reason)
        self.fault = fault


def read_model(path: str | Path) -> tuple[bytes, ModelInfo]:
    """Read and check an exported file.

    Returns:
        The bytes that were checked, and the metadata in them.

    Raises:
        ModelFileError: not there, not ONNX, truncated, damaged, not self-contained, or not of this
            contract.
    """
    path = Path(path)
    try:
        data = _read(path)
        return data, _info(data)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelFileError(f"{path}: {reason}; give an .onnx file", "missing") from None
    except _Broken as error:
        raise ModelFileError(f"{path}: {error}", error.fault) from None


def seal(data: bytes) -> bytes:
    """A serialized ModelProto with its checksum in the metadata, renewed if there is one.

    The checksum is the CRC-32 of the file with the checksum's own eight digits read as zeros.

    Raises:
        ModelFileError: `data` is no ModelProto.
    """
    try:
        model = scan(data)
        if CHECKSUM_KEY not in model.metadata:
            data += metadata_entry(CHECKSUM_KEY, _BLANK)
            model = scan(data)
    except WireError as error:
        raise ModelFileError(f"cannot seal the model: {error}", "no model") from None
    start, end = model.metadata[CHECKSUM_KEY][1]
    return data[:start] + _checksum(data, (start, end)).encode() + data[end:]


def _read(path: Path) -> bytes:
    if path.is_dir():
        inside = path / "student.onnx"
        hint = f"did you mean {inside}" if inside.is_file() else "give an .onnx file"
        raise _Broken(f"is a folder; {hint}", "missing")
    if path.exists() and not path.is_file():
        raise _Broken("not a regular file; give an .onnx file", "missing")
    size = path.stat().st_size
    if size == 0:
        raise _Broken("the file is empty; copy or export it again", "no model")
    if size >= MAX_BYTES:
        raise _Broken(
            "larger than 2 GiB, which no exported model is; give an .onnx file", "no model"
        )
    return path.read_bytes()


def _info(data: bytes) -> ModelInfo:
    if data.startswith(b"version https://git-lfs"):
        raise _Broken("a Git LFS pointer instead of the model; run: git lfs pull", "no model")
    try:
        model = scan(data)
    except WireError:
        model = Scan()
    if model.graphs != 1:
        raise _Broken("not an ONNX file, or a truncated one; copy or export it again", "no model")
    _check_contract(data, model)
    if model.external:
        raise _Broken(
            "keeps weights in other files, and the contract is one file; export it again",
            "external",
        )
    try:
        info = _parse({key: text for key, (text, _) in model.metadata.items()})
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise _Broken(
            f"metadata that contradicts the contract ({_line(error)}); export it again", "metadata"
        ) from None
    default = model.scalars.get("threshold")
    if default is None or not math.isclose(default, info.threshold, rel_tol=1e-6, abs_tol=1e-30):
        raise _Broken(
            f"its metadata says threshold {info.threshold:g}, its graph "
            f"{'none' if default is None else format(default, 'g')}; export it again",
            "metadata",
        )
    # The float32 that the graph compares with; the metadata may hold more digits.
    return replace(info, threshold=default)


def _check_contract(data: bytes, model: Scan) -> None:
    contract, _ = model.metadata.get(f"{PREFIX}contract", (None, None))
    if contract is None:
        raise _Broken(
            "an ONNX model without EdgeDistill's metadata; make it with: edgedistill export --onnx",
            "foreign",
        )
    if contract != CONTRACT:
        raise _Broken(
            f"keeps contract {contract[:20]!r}, and edgedistill {__version__} reads {CONTRACT!r}; "
            "install the edgedistill that exported it, or export it again",
            "contract",
        )
    checksum, span = model.metadata.get(CHECKSUM_KEY, (None, (0, 0)))
    if checksum is None:
        raise _Broken(f"without its checksum {CHECKSUM_KEY}; export it again", "damaged")
    if checksum != _checksum(data, span):
        raise _Broken(
            "damaged or changed since it was exported; copy or export it again", "damaged"
        )


def _checksum(data: bytes, span: tuple[int, int]) -> str:
    """CRC-32 of a file whose own checksum stands at `span`, as eight hexadecimal digits."""
    view = memoryview(data)
    value = zlib.crc32(view[: span[0]])
    value = zlib.crc32(_BLANK.encode(), value)
    return f"{zlib.crc32(view[span[1] :], value):08x}"


def _parse(metadata: dict[str, str]) -> ModelInfo:
    texts = {key.removeprefix(PREFIX): value for key, value in metadata.items()}
    threshold, entry = json.loads(texts["threshold"]), json.loads(texts["input"])
    classes, metrics = json.loads(texts["classes"]), json.loads(texts["metrics"])
    _require(isinstance(classes, list) and len(classes) > 0, "classes: no list of names")
    _require(all(isinstance(name, str) and name for name in classes), "classes: not all names")
    _require(len(set(classes)) == len(classes), "classes: a name twice")
    _require(texts["unknown_label"] == str(UNKNOWN_LABEL), "unknown_label: not -1")
    _require(isinstance(entry["size"], int) and 1 <= entry["size"] <= MAX_SIZE, "input: size")
    _require(entry["resize"] == RESIZE_RULE, f"input: resize is not {RESIZE_RULE}")
    _require(isinstance(metrics, dict), "metrics: no object")
    value = float(threshold["value"])
    _require(math.isfinite(value), "threshold: not finite")
    return ModelInfo(
        classes=tuple(classes),
        score=texts["score"],
        threshold=value,
        target_keep_rate=float(threshold["acceptance"]),
        calibration=str(threshold["calibration"]),
        calibration_images=int(threshold["images"]),
        size=entry["size"],
        precision=texts["precision"],
        student=texts["student"],
        method=texts["method"],
        version=texts["version"],
        recipe_sha256=texts["recipe_sha256"],
        metrics=metrics,
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _line(error: BaseException) -> str:
    message = " ".join(str(error).split())[:80]
    return f"no {message}" if isinstance(error, KeyError) else message
