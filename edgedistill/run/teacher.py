"""The function `edgedistill.evaluate_teacher`: zero-shot answers of a recipe's teacher."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import as_recipe
from edgedistill.run.pipeline import teacher_scores
from edgedistill.train.device import enough_memory


def evaluate_teacher(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> list[dict[str, Any]]:
    """Zero-shot accuracy and open-set metrics of the teacher: one row per domain.

    The target's row is on its test images; the sources' rows are on all their images of known and
    unknown classes.

    Args:
        recipe: a TOML file, a `Recipe`, or its sections as nested dictionaries.
        overrides: fields of it to change.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises RecipeError, DataError or WeightsError for what the recipe names and is not there.
    """
    resolved = as_recipe(recipe, overrides)
    given = [LoggingCallback()] if callbacks is None else callbacks
    with enough_memory(), reporting(given):
        return teacher_scores(resolved)
