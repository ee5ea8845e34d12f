"""Requests of runs: recipes before their defaults are filled in, which needs no torch."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import __version__
from edgedistill._utils.atomic import write_text
from edgedistill.recipe.load import override, read_tree

# May differ between two starts of one run.
_FREE = ("device", "log")


@dataclass(frozen=True)
class Request:
    """A recipe's file with overrides.

    Attributes:
        name: of the run folder, where nobody names one.
        fingerprint: hash of the recipe's sections and this version of the package.
    """

    name: str
    fingerprint: str

    def is_finished(self, folder: Path) -> bool:
        """Whether a folder holds a finished run that this very request began or found finished."""
        if not (folder / "metrics.json").is_file():
            return False
        try:
            noted = _note(folder).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        return noted.strip() == self.fingerprint

    def note(self, folder: Path) -> None:
        """Note in a run's folder that it is what was asked for."""
        write_text(_note(folder), f"{self.fingerprint}\n")


def read_request(path: Path, overrides: Mapping[str, Any] | Sequence[str]) -> Request:
    """The request of a recipe's file and overrides. Raises RecipeError as `load_recipe` does."""
    with warnings.catch_warnings():
        # They come again where the recipe is resolved.
        warnings.simplefilter("ignore", FutureWarning)
        tree = read_tree(path)
        override(tree, overrides)
    asked = {key: value for key, value in tree.items() if key not in _FREE}
    text = json.dumps([__version__, asked], sort_keys=True, default=str)
    data = tree.get("data")
    target = data.get("target") if isinstance(data, dict) else None
    fingerprint = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
    return Request(run_name(path.stem, target, tree.get("seed", 0)), fingerprint.hexdigest())


def run_name(stem: str, target: Any, seed: Any) -> str:
    """RECIPE-TARGET-sSEED, without the target where there is none, which may also be a folder."""
    if target is None:
        return f"{stem}-s{seed}"
    return f"{stem}-{os.path.basename(os.path.abspath(str(target)))}-s{seed}"


def _note(folder: Path) -> Path:
    return folder / ".request"
