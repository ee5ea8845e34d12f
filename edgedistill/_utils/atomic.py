"""Files that are either complete or absent.

Every result file goes to a temporary name in the same folder, is flushed to the disk, and is
renamed over the old one. A crash, a full disk or a power cut leaves the previous file untouched.
"""

import glob
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.errors import OutputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on leaving, it becomes `path`.

    For writers that want a file name (safetensors, onnx). If the body raises, `path` keeps its
    old content and the temporary file is removed. The folder must exist. A symbolic link stays,
    and the file that it names is replaced.

    Raises:
        OutputError: the file system refuses, or `path` is no regular file, or the one that stdout
            or stderr goes to.
    """
    path = Path(path)
    with _temporary(path) as (temporary, target):
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)


def clear_temporary(folder: Path, stem: str = "") -> None:
    """Remove temporary files that killed processes left in a folder, of one target or of all.

    The caller holds the lock under which these files are written, so none is in use.

    Args:
        stem: name of the target without its suffix.
    """
    for leftover in folder.glob(f".{glob.escape(stem)}.*.tmp*" if stem else ".*.tmp*"):
        with suppress(OSError):
            leftover.unlink()


def probe(path: str | Path) -> None:
    """Check that `path` could be written, without writing it.

    Raises:
        OutputError: as `replacing`, as far as can be known without the content.
    """
    with _temporary(Path(path)) as (temporary, _):
        temporary.touch(exist_ok=False)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` atomically. Raises OutputError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    r"""Write `text` as UTF-8 with its newlines as given, atomically.

    Bytes of file names that are not UTF-8 (surrogates in Python) become `\udcXX`, which JSON reads
    back.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically.

    NumPy scalars and arrays become numbers and lists. JSON has no NaN or infinity: they are
    written as null, so that every other program can read the file.

    Raises:
        TypeError: a value that JSON cannot hold.
        OutputError: as `replacing`.
    """
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, Path]]:
    """A name that is free again afterwards, and the file beside it that `path` stands for."""
    temporary = None
    try:
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "a device, a pipe or a socket"
            raise OutputError(f"cannot write {path}: it is {what}; choose another name")
        if _is_printed_to(path):
            raise OutputError(
                f"cannot write {path}: this command's output goes there; choose another name"
            )
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        # The final suffix is kept: some writers choose their format by it.
        temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp{target.suffix}")
        yield temporary, target
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"cannot write {path}: {reason}; make room or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_printed_to(path: Path) -> bool:
    """Whether it is the file behind stdout or stderr, whose text would be lost with it."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samefile(path, descriptor):
                return True
    return False


def _flush(path: Path) -> None:
    # Opened for writing because Windows refuses to flush a read-only handle.
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    # The rename itself lives in the folder. Windows cannot open folders, and some network file
    # systems refuse to flush them; the data is safe in both cases, so this is best effort.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
