"""The folder of one run: what lies in it, and whether it is new, unfinished or finished."""

import csv
import io
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedistill import __version__
from edgedistill._utils.atomic import clear_temporary, write_bytes, write_json, write_text
from edgedistill._utils.locks import lock
from edgedistill.data.identity import ImageIdentity, describe_changes
from edgedistill.errors import EdgeDistillError, RunFolderError
from edgedistill.recipe import differences, load_recipe, to_toml
from edgedistill.recipe.schema import Section

State = Literal["new", "unfinished", "finished"]
STATES: tuple[State, ...] = ("new", "unfinished", "finished")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def history(self) -> Path:
        return self.path / "history.csv"

    @property
    def student(self) -> Path:
        return self.path / "student.safetensors"

    @property
    def openset(self) -> Path:
        return self.path / "openset.json"

    @property
    def metrics(self) -> Path:
        """Written last: a run with it is finished."""
        return self.path / "metrics.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def images(self) -> Path:
        """Hashes of the training and validation images, see `ImageIdentity.images`."""
        return self.path / "images.npy"

    @property
    def teacher_check(self) -> Path:
        """What the teacher was worth before training; not in a run without one."""
        return self.path / "teacher_check.json"

    @property
    def lock(self) -> Path:
        """Held by the process that is at work on the run."""
        return self.path / ".lock"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def other_name(self) -> str:
        """Advice of a message that the folder cannot be this run's."""
        return "choose another --name"

    @property
    def other_place(self) -> str:
        """Advice of a message that the folder cannot be made or read."""
        return "choose another --runs folder"

    def read_recipe(self) -> Section:
        """The resolved recipe. Raises RecipeError when it is damaged."""
        return load_recipe(self.recipe)


@contextmanager
def locked_run(folder: RunFolder, recipe: Section) -> Iterator[State]:
    """The state of a run's folder: new, or as an earlier start of the same recipe left it.

    Until the block ends other processes are kept out of it. What a killed one left half-written is
    cleared. A finished run is neither locked nor changed. A new folder is removed again when an
    EdgeDistillError ends the block before it has trained. Device and loggers may differ from the
    earlier start's, nothing else.

    Raises RunFolderError when the folder holds another recipe or cannot be written, or when
    another process is at work on the run.
    """
    path, state = folder.path, _state(folder, recipe)
    if state == "finished":
        yield state
        return
    missing = [parent for parent in (path, *path.parents) if not parent.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be made: {error.strerror}; {folder.other_place}"
        ) from error
    failed_start = False
    try:
        with _locked(folder):
            # Another process may have been here in between.
            state = _state(folder, recipe)
            if state == "new":
                write_text(folder.recipe, to_toml(recipe))
            try:
                yield state
            except EdgeDistillError:
                failed_start = path in missing and not has_trained(folder)
                raise
    finally:
        if failed_start:
            _remove_start(folder, missing)


def _remove_start(folder: RunFolder, created: Sequence[Path]) -> None:
    """Remove what a start that failed before training made: its files, then the empty folders."""
    # What another process put there meanwhile keeps its folder.
    with suppress(OSError):
        for file in (*_started_with(folder), folder.lock):
            file.unlink(missing_ok=True)
        for path in created:
            path.rmdir()


def has_trained(folder: RunFolder) -> bool:
    """Whether the run trained: there is more in the folder than what it was started with.

    One that did not may start again with a corrected recipe, after too little memory say.
    """
    started_with = _started_with(folder)
    return any(
        path not in started_with and not path.name.startswith(".") for path in folder.path.iterdir()
    )


def _started_with(folder: RunFolder) -> tuple[Path, ...]:
    """The files that a run has before it trains."""
    return folder.recipe, folder.environment, folder.images, folder.teacher_check


def _state(folder: RunFolder, recipe: Section) -> State:
    path = folder.path
    if folder.recipe.exists():
        old = folder.read_recipe()
        may_differ = {key: getattr(recipe, key) for key in ("device", "log")}
        changed = differences(old.model_copy(update=may_differ), recipe)
        if changed and not has_trained(folder):
            return "new"
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise RunFolderError(
                f"{path}: holds a run of another recipe ({changed[0]}{more}); {folder.other_name}, "
                "or delete the folder"
            )
        return "finished" if folder.metrics.exists() else "unfinished"
    try:
        # Hidden files may be what a start left that was killed before it wrote the recipe.
        if path.exists() and any(not p.name.startswith(".") for p in path.iterdir()):
            raise RunFolderError(f"{path}: exists and is not a run; {folder.other_name}")
    except OSError as error:
        raise RunFolderError(
            f"{path}: cannot be read: {error.strerror}; {folder.other_place}"
        ) from error
    return "new"


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    with lock(folder.lock, RunFolderError, folder.other_place, wait=False) as held:
        if not held:
            raise RunFolderError(
                f"{folder.path}: another process is at work on this run; wait for it, or "
                f"{folder.other_name}"
            )
        clear_temporary(folder.path)
        yield


# What a checkpoint only fits together with, and what a person calls it.
_IDENTITY = {"teacher": "teacher", "start_weights": "start weights", "images": "images"}
# Entries of later versions; a run without one had none of it.
_LATER = {"unlabelled": "unlabelled images"}


def check_fingerprints(
    folder: RunFolder, fingerprints: Mapping[str, str | None], images: ImageIdentity
) -> None:
    """Refuse to go on training with another teacher, other start weights or other images.

    `fingerprints` holds a hash of each, as `write_environment` recorded them at the earlier start.
    Raises RunFolderError that names what changed, or when that record cannot be read.
    """
    if not folder.checkpoint.exists():
        return
    try:
        old = json.loads(folder.environment.read_text(encoding="utf-8"))["identity"]
        changed = [name for name in _IDENTITY if old[name] != fingerprints[name]]
        names = _IDENTITY | _LATER
        changed += [name for name in _LATER if old.get(name) != fingerprints.get(name)]
    except (OSError, ValueError, KeyError, TypeError):
        raise RunFolderError(
            f"{folder.environment}: does not say what this run was begun with; delete "
            f"{folder.checkpoint.name} beside it to train it from the start"
        ) from None
    if changed:
        name = changed[0]
        difference: str | None = f"{old.get(name)}, now {fingerprints.get(name)}"
        if name == "images":
            difference = describe_changes(read_images(folder, str(old[name])), images)
        raise RunFolderError(
            f"{folder.path}: was begun with other {names[name]} ({difference}); bring "
            f"them back, {folder.other_name}, or delete the folder"
        )


def write_images(folder: RunFolder, images: ImageIdentity) -> None:
    """Record the training and validation images, for `read_images`."""
    assert images.images is not None
    content = io.BytesIO()
    np.save(content, images.images)
    write_bytes(folder.images, content.getvalue())


def read_images(folder: RunFolder, digest: str) -> ImageIdentity:
    """The images of a run, by their hashes; their digest alone where they were not recorded.

    Args:
        digest: of these images, in environment.json.
    """
    try:
        images = np.load(folder.images)
    except (OSError, ValueError, EOFError):
        return ImageIdentity(digest)
    valid = images.dtype == np.uint64 and images.ndim == 2 and images.shape[1] == 3
    return ImageIdentity(digest, images if valid else None)


def write_history(folder: RunFolder, history: Sequence[Mapping[str, float]]) -> None:
    """Record the validations, a row each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, history[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(folder.history, text.getvalue())


def write_environment(folder: RunFolder, more: dict[str, Any]) -> dict[str, Any]:
    """Record what the run ran on; returns what was written."""
    packages = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow")
    environment = {
        "edgedistill": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        **{name: _version(name) for name in packages},
        **more,
    }
    write_json(folder.environment, environment)
    return environment


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
