"""The function `edgedistill.pretrain`: images and a teacher in, start weights of a student out."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import Callback, LoggingCallback, RunEnd, reporting
from edgedistill.errors import Interrupted, UsageError
from edgedistill.registries import LOGGERS

if TYPE_CHECKING:
    from edgedistill.recipe.pretraining import PretrainingRecipe


@dataclass(frozen=True)
class Pretrained:
    """A finished pretraining.

    Attributes:
        path: the weights, a safetensors file for `student.weights`.
        folder: its working folder, with the report, the history and the checkpoint.
        figures: figures.json: cosine to the teacher on held-out images, zero-shot accuracy, counts
            of images, times; empty in other processes than torchrun's first.
        before: how the folder was found: "new", "unfinished" or "finished".
        rank: number of the process among those that torchrun started.
    """

    path: Path
    folder: Path
    figures: Mapping[str, Any]
    before: Literal["new", "unfinished", "finished"]
    rank: int = 0

    @property
    def report(self) -> Path:
        """report.html: the pretraining on one page."""
        return self.folder / "report.html"

    @property
    def history(self) -> list[dict[str, float]]:
        """history.csv: step, lr, loss terms and figures of every validation."""
        with open(self.folder / "history.csv", encoding="utf-8", newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def pretrain(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    out: str | Path | None = None,
    *,
    teacher: str | None = None,
    student: str | None = None,
    recipe: str | Path | PretrainingRecipe | Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    callbacks: Iterable[Callback] | None = None,
) -> Pretrained:
    """Distil a teacher into a student on images without labels; a stopped one goes on.

    Under torchrun, every process calls this with the same arguments.

    Args:
        images: folders of images of anything, at any depth; the recipe's where none is given.
        out: the weights file that is made, for `student.weights`; STEM.safetensors when None,
            STEM being the recipe's file's or `start-STUDENT`. The working folder lies beside it.
        teacher: `teacher.model`, over the recipe's.
        student: `student.model`, over the recipe's.
        recipe: a TOML file, or its sections as nested dictionaries.
        overrides: fields to change, {"train.lr": 1e-3} or ["train.lr=1e-3"].
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises:
        RecipeError: the recipe is not valid.
        UsageError: neither images nor a recipe are given, or `out` is no .safetensors file.
        RunFolderError: the working folder is of another recipe, or is in use.
        DataError, WeightsError, CacheError, TrainingError, OutputError: what the recipe names is
            not there, or the training came to nothing.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on from there.

    Examples:
        >>> quick = {"train.steps": 2, "student.size": 32}
        >>> start = ed.pretrain("photos", "a.safetensors", teacher="emoji-clip", overrides=quick)
        >>> -1 <= start.figures["cosine"] <= 1
        True
    """
    with needs_extra("train", "edgedistill.pretrain"):
        from edgedistill.pretraining.folder import folder_of
        from edgedistill.pretraining.pipeline import run_pretraining
        from edgedistill.recipe.pretraining import read_pretraining
        from edgedistill.train.context import Stopped
        from edgedistill.train.distributed import init_distributed
    folders = [images] if isinstance(images, str | os.PathLike) else list(images)
    if recipe is None and not folders:
        raise UsageError("pretrain: give folders of images, or a recipe")
    arguments: dict[str, Any] = {}
    if folders:
        arguments["data.images"] = [os.fspath(folder) for folder in folders]
    arguments |= {
        key: value
        for key, value in (("teacher.model", teacher), ("student.model", student))
        if value is not None
    }
    given = [LoggingCallback()] if callbacks is None else callbacks
    with init_distributed() as processes:
        resolved = read_pretraining({} if recipe is None else recipe, arguments, overrides)
        path = _default_output(recipe, resolved) if out is None else Path(out)
        if path.suffix != ".safetensors":
            raise UsageError(f"{path}: start weights are safetensors; name it {path}.safetensors")
        folder = folder_of(path).path
        loggers = [
            LOGGERS[name](folder, resolved.model_dump(), resolved.log) for name in resolved.log.to
        ]
        with reporting([*given, *loggers], muted=processes.rank > 0) as active:
            try:
                figures, state = run_pretraining(resolved, path, processes)
            except (Stopped, Interrupted, KeyboardInterrupt) as stop:
                because = f"{str(stop) or 'interrupted'}; the same command goes on from there"
                interrupted = Interrupted(f"{folder}: {because}")
                active.on_end(RunEnd(folder, "stopped", error=interrupted))
                raise interrupted from None
            except Exception as error:
                active.on_end(RunEnd(folder, "failed", error=error))
                raise
            active.on_end(RunEnd(folder, "finished", metrics=figures))
    return Pretrained(path, folder, figures, state, processes.rank)


def _default_output(
    recipe: str | Path | PretrainingRecipe | Mapping[str, Any] | None, resolved: PretrainingRecipe
) -> Path:
    if isinstance(recipe, str | Path):
        stem = Path(recipe).stem
    else:
        stem = f"start-{resolved.student.model.replace('/', '-')}"
    return Path(f"{stem}.safetensors")
