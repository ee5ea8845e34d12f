"""The function `edgedistill.evaluate_teacher`: zero-shot answers of a recipe's teacher."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.data.store.image_store import open_store
from edgedistill.openset import evaluate
from edgedistill.recipe import Recipe
from edgedistill.recipe.load import as_recipe, teacher_model
from edgedistill.recipe.schema import DataSection, PromptsSection, TeacherSection
from edgedistill.runs.stages.prepare import class_texts
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.view_cache.plain import open_plain_cache
from edgedistill.teacher.zero_shot import zero_shot
from edgedistill.train.device import enough_memory, resolve_device


def evaluate_teacher(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> list[dict[str, Any]]:
    """Zero-shot accuracy and open-set metrics of the teacher: one row per domain.

    The target's row is on its test images; the sources' rows are on all their images of known and
    unknown classes. The teacher's embeddings of them are cached, as those of runs are.

    Args:
        recipe: a TOML file, a `Recipe`, or its sections as nested dictionaries.
        overrides: fields of it to change.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises RecipeError, DataError or WeightsError for what the recipe names and is not there.
    """
    resolved = as_recipe(recipe, overrides)
    given = [LoggingCallback()] if callbacks is None else callbacks
    with enough_memory(), reporting(given):
        return _scores(resolved.data, resolved.teacher, resolved.prompts, resolved.device)


def _scores(
    data: DataSection, teacher: TeacherSection, prompts: PromptsSection, device: str
) -> list[dict[str, Any]]:
    dataset = resolve_split(data)
    index, split = dataset.index, dataset.split
    model = load_teacher(
        teacher_model(teacher), teacher.pretrained, resolve_device(device), teacher.size
    )
    text = class_texts(prompts, dataset, model).to(model.device)
    store = open_store(index, model.size)
    unknown = np.isin(index.label, [index.class_id(name) for name in split.unknown])
    has_truth = (split.known_label[index.label] >= 0) | unknown
    rows = []
    for number, domain in enumerate(index.domains):
        is_target = domain == split.target
        in_domain = np.flatnonzero((index.domain == number) & has_truth)
        selected = dataset.target if is_target else in_domain
        labelled = dataset.label(store.images(selected))
        cache = open_plain_cache(
            model, labelled.images, batch=teacher.batch, name=f"teacher on {domain}"
        )
        outputs = zero_shot(model, text, labelled, cache)
        metrics = evaluate(outputs, threshold=-math.inf, known=split.known)
        rows.append({"domain": domain, "target": is_target, **metrics})
    return rows
