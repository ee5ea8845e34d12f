"""The folder of one run: what lies in it, and whether it is new, unfinished or finished."""

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from edgedistill import __version__
from edgedistill.atomic import write_json, write_text
from edgedistill.errors import EdgeDistillError
from edgedistill.recipe import Recipe, differences, load_recipe, to_toml

State = Literal["new", "unfinished", "finished"]


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
    def report(self) -> Path:
        return self.path / "report.html"


def open_run(path: Path, recipe: Recipe) -> tuple[RunFolder, State]:
    """Make a run's folder, or find it as an earlier start of the same recipe left it.

    The device may differ from the earlier start's, nothing else. Raises EdgeDistillError when the
    folder holds another recipe, or cannot be written.
    """
    folder = RunFolder(path)
    if folder.recipe.exists():
        old = load_recipe(folder.recipe)
        changed = differences(old.model_copy(update={"device": recipe.device}), recipe)
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise EdgeDistillError(
                f"{path}: holds a run of another recipe ({changed[0]}{more}); choose another "
                "--name, or delete the folder"
            )
        return folder, "finished" if folder.metrics.exists() else "unfinished"
    try:
        # Hidden files may be what a start left that was killed before it wrote the recipe.
        if path.exists() and any(not p.name.startswith(".") for p in path.iterdir()):
            raise EdgeDistillError(f"{path}: exists and is not a run; choose another --name")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeDistillError(
            f"{path}: cannot be made: {error.strerror}; choose another --runs folder"
        ) from error
    write_text(folder.recipe, to_toml(recipe))
    return folder, "new"


@contextmanager
def working_on(folder: RunFolder) -> Iterator[None]:
    """Keep other processes out of a run, and clear what a killed one left half-written.

    Raises EdgeDistillError when another process is at work on the run.
    """
    lock = FileLock(folder.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EdgeDistillError(
            f"{folder.path}: another process is at work on this run; wait for it, or choose "
            "another --name"
        ) from None
    except OSError as error:
        raise EdgeDistillError(
            f"{folder.path}: cannot be written: {error.strerror}; choose another --runs folder"
        ) from error
    try:
        for left in folder.path.glob(".*.tmp*"):
            with suppress(OSError):
                left.unlink()
        yield
    finally:
        lock.release()


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
