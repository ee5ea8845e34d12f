"""The folder of one run: what lies in it, and whether it is new, unfinished or finished."""

import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

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
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise EdgeDistillError(f"{path}: exists and is not a run; choose another --name")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeDistillError(
            f"{path}: cannot be made: {error.strerror}; choose another --runs folder"
        ) from error
    write_text(folder.recipe, to_toml(recipe))
    return folder, "new"


def write_environment(folder: RunFolder, more: dict[str, Any]) -> dict[str, Any]:
    """Record what the run ran on; returns what was written."""
    packages = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow")
    environment = {
        "edgedistill": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        **{name: metadata.version(name) for name in packages},
        **more,
    }
    write_json(folder.environment, environment)
    return environment
