"""The recipe of a label-free pretraining: its sections, reading and validation.

The sections [views], [teacher], [prompts], [student] and [log] are those of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edgedistill.errors import RecipeError
from edgedistill.recipe.load import (
    TEACHER_ADVICE,
    fill_sizes,
    first_line,
    override,
    read_tree,
    registered,
)
from edgedistill.recipe.paths import absolute_paths
from edgedistill.recipe.schema import (
    LogSection,
    Positive,
    PromptsSection,
    Section,
    Seed,
    Share,
    StudentSection,
    TeacherSection,
    TrainSection,
    ViewsSection,
)
from edgedistill.registries import LOGGERS, STUDENTS

Weight = Annotated[float, Field(ge=0)]
# Passes over the images where a recipe names no number of steps, and the steps' bounds.
PASSES = 20
# Batch-norm statistics of MobileNetV3 keep 0.99 a step: a few hundred steps leave them behind.
FEWEST_STEPS, MOST_STEPS = 1000, 100_000


class PretrainingDataSection(Section):
    """Images to pretrain on, and labelled ones to measure on."""

    images: list[str] = Field(
        min_length=1, description="folders of images of anything, at any depth, without classes"
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.05,
        description="share of the images, 2,000 at most, that the student is validated on instead "
        "of trained with",
    )
    labelled: str | None = Field(
        default=None,
        description="a dataset as in data.dataset of a run, to measure zero-shot accuracy on at "
        "every validation; not trained on",
    )


class LossSection(Section):
    """Terms of the loss beside 1 - cosine to the teacher's embedding, which has weight 1."""

    vocabulary: Weight = Field(
        default=0.0,
        description="weight of the KL divergence from the teacher's softmax over the words' texts",
    )
    words: str | None = Field(
        default=None, description="file of the vocabulary's words, one on a line; '#' begins a note"
    )
    contrast: Weight = Field(
        default=0.0,
        description="weight of the contrast between the teacher's embeddings of a batch (InfoNCE)",
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        default=0.07, description="of the contrast's cosines"
    )

    @model_validator(mode="after")
    def _words(self) -> Self:
        if (self.words is None) != (self.vocabulary == 0):
            raise ValueError("vocabulary and words go together; set both, or neither")
        return self


class PretrainingTrainSection(Section):
    """Optimization; the keys of a run's section [train] mean the same there."""

    steps: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description=f"optimizer steps; unset: {PASSES} passes over the images, at least "
        f"{FEWEST_STEPS:,} and at most {MOST_STEPS:,} steps",
    )
    batch: Annotated[int, Field(ge=2)] = Field(default=128, description="images per step")
    optimizer: Literal["sgd", "adamw", "adam"] = Field(
        default="adamw", description="'adamw' decouples the weight decay, 'adam' adds it as L2"
    )
    lr: Annotated[float, Field(gt=0)] = Field(
        default=0.001, description="learning rate after the warm-up"
    )
    weight_decay: Weight = Field(
        default=0.02, description="of every weight, biases and batch norm included"
    )
    momentum: Share = Field(default=0.9, description="of 'sgd'")
    schedule: Literal["constant", "cosine"] = Field(
        default="cosine", description="of the learning rate after the warm-up"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(
        default=60, description="steps in which the learning rate rises linearly"
    )
    average: Literal["none", "ema"] = Field(
        default="ema", description="'ema': validate and save the exponential average of the weights"
    )
    ema_decay: Share = Field(default=0.99, description="weight of the past in 'ema'")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="'auto': bf16 where a GPU has it, else fp16 there; on a CPU fp32, or bf16 "
        "where the CPU has it and this student was measured to gain",
    )
    channels_last: bool = Field(default=True, description="memory layout of convolutions")
    compile: bool = Field(default=False, description="compile the student with torch.compile")
    eval_every: Positive = Field(default=100, description="steps between validations")
    patience: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="validations in a row without a better one that end the training; 0: never",
    )
    checkpoint_every: Positive = Field(
        default=100, description="steps that a kill may lose; Ctrl-C loses none"
    )

    def loop_settings(self) -> TrainSection:
        """The settings of the training loop, for images of one domain."""
        shared = self.model_dump(exclude={"batch"})
        nesterov = self.momentum > 0
        return TrainSection(batch_per_domain=self.batch, nesterov=nesterov, **shared)


class PretrainingStudentSection(StudentSection):
    """Student network."""

    weights: str = Field(
        default="none",
        description="'none' (random), 'imagenet', 'imagenet-v2', 'embedded', a file of weights, or "
        "the folder of a finished run",
    )


class PretrainingViewsSection(ViewsSection):
    """Random crops that teacher and student both see."""

    mix: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="share of views that are mixed with another image's, half of them by mixup and "
        "half by CutMix",
    )


class PretrainingRecipe(Section):
    """A label-free pretraining."""

    seed: Seed = Field(
        default=0, description="seeds the student's random weights, the batches and torch's draws"
    )
    device: str = Field(
        default="auto", description="'auto' (CUDA if there is one), 'cpu', 'cuda', 'cuda:1', 'mps'"
    )
    save: Literal["fp32", "fp16", "int8"] = Field(
        default="fp32", description="type of the saved matrices; 'int8' has a scale per channel"
    )
    data: PretrainingDataSection
    views: PretrainingViewsSection = PretrainingViewsSection()
    teacher: TeacherSection = TeacherSection()
    prompts: PromptsSection = PromptsSection()
    student: PretrainingStudentSection = PretrainingStudentSection()
    loss: LossSection = LossSection()
    train: PretrainingTrainSection = PretrainingTrainSection()
    log: LogSection = LogSection()


def read_pretraining(
    source: str | Path | PretrainingRecipe | Mapping[str, Any],
    *overrides: Mapping[str, Any] | Sequence[str],
) -> PretrainingRecipe:
    """A resolved recipe from a TOML file, a recipe, or its sections as nested dictionaries.

    Args:
        source: the recipe; it is not changed.
        overrides: fields to change, {"train.lr": 1e-3} or ["train.lr=1e-3"], later ones win.

    Raises RecipeError with one line that names the file, if any, and the key.
    """
    if isinstance(source, str | Path):
        tree, where = read_tree(Path(source)), str(source)
    else:
        values = (
            source.model_dump(exclude_none=True)
            if isinstance(source, PretrainingRecipe)
            else deepcopy(dict(source))
        )
        tree, where = absolute_paths(values, Path()), "pretraining"
    for changes in overrides:
        override(tree, changes)
    return resolve_pretraining(tree, where)


def resolve_pretraining(tree: dict[str, Any], where: str) -> PretrainingRecipe:
    """The recipe of nested dictionaries, with its student's sizes.

    Raises RecipeError with one line that names `where` and the key.
    """
    try:
        recipe = PretrainingRecipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_line(error, PretrainingRecipe)}") from None
    architecture = registered(STUDENTS, recipe.student.model, f"{where}: student.model")
    for logger in recipe.log.to:
        registered(LOGGERS, logger, f"{where}: log.to")
    if recipe.teacher.model is None:
        raise RecipeError(f"{where}: teacher.model: is required: {TEACHER_ADVICE}")
    student, views = fill_sizes(recipe.student, recipe.views, architecture)
    return recipe.model_copy(update={"student": student, "views": views})


def with_steps(recipe: PretrainingRecipe, images: int) -> PretrainingRecipe:
    """A recipe with its number of steps, from the number of images where it names none."""
    train = recipe.train
    if train.steps is None:
        steps = min(max(PASSES * images // train.batch, FEWEST_STEPS), MOST_STEPS)
        train = train.model_copy(update={"steps": steps})
    return recipe.model_copy(update={"train": train})
