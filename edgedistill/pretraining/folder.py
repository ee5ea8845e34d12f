"""The working folder of a pretraining, beside the file that it makes."""

from __future__ import annotations

from pathlib import Path

from edgedistill.recipe.pretraining import PretrainingRecipe, read_pretraining
from edgedistill.runs.folder import RunFolder


class PretrainingFolder(RunFolder):
    """Paths of a pretraining's files; their names are not a run's, so that nobody takes it for one.

    It lies beside the weights: `start.pretraining/` for `start.safetensors`.
    """

    @property
    def recipe(self) -> Path:
        return self.path / "pretraining.toml"

    @property
    def metrics(self) -> Path:
        """Written last: a pretraining with it is finished."""
        return self.path / "figures.json"

    @property
    def other_name(self) -> str:
        return "choose another output"

    @property
    def other_place(self) -> str:
        return "choose another output"

    def read_recipe(self) -> PretrainingRecipe:
        return read_pretraining(self.recipe)


def folder_of(output: Path) -> PretrainingFolder:
    """The working folder of the weights file `output`."""
    return PretrainingFolder(output.with_suffix(".pretraining"))
