"""What a recipe asks: which images and classes, and what the classes are called."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgedistill.data.datasets import load_dataset
from edgedistill.data.index import ImageIndex
from edgedistill.data.split import Split, make_split
from edgedistill.recipe import Recipe
from edgedistill.teacher.clip import Teacher
from edgedistill.teacher.text import TextBank, build_text_bank, class_names


@dataclass(frozen=True)
class Problem:
    """A recipe's images and classes.

    Attributes:
        index, split: see `edgedistill.data`.
        target: rows of the target's test images, known ones first.
        target_labels: int64, known labels, -1 for unknown.
    """

    index: ImageIndex
    split: Split
    target: NDArray[np.int64]
    target_labels: NDArray[np.int64]


def load_problem(recipe: Recipe) -> Problem:
    """Find the images and split them as the recipe says. Raises EdgeDistillError."""
    data = recipe.data
    index = load_dataset(data.dataset)
    split = make_split(
        index,
        target=data.target,
        known=data.known,
        unknown=data.unknown,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        seed=data.split_seed,
    )
    target = np.concatenate([split.target_known, split.target_unknown])
    return Problem(index, split, target, split.known_label[index.label[target]])


def load_texts(recipe: Recipe, problem: Problem, teacher: Teacher) -> TextBank:
    """The texts of the known classes, encoded once, on the CPU."""
    prompts = recipe.prompts
    names = class_names(
        problem.split.known, problem.index.names, prompts.names, prompts.keep_underscores
    )
    return build_text_bank(
        teacher.encode_texts, names, prompts.templates, prompts.pool, teacher.logit_scale
    )
