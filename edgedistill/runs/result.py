"""Finished runs as objects: results, student and export of a run folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from edgedistill._utils.extras import needs_extra
from edgedistill.callbacks import Callback, LoggingCallback, reporting
from edgedistill.errors import RunFolderError, UsageError
from edgedistill.runs.lookup import find_run

if TYPE_CHECKING:
    from edgedistill.export.base import ExportedFile
    from edgedistill.export.build import Exported
    from edgedistill.recipe import Recipe
    from edgedistill.students.student import Student


class Run:
    """A run folder read back; every attribute but `student` is read anew when it is asked for.

    Attributes:
        path: the folder.
        before: how the folder was found by the `edgedistill.run` that returned this: "new",
            "unfinished" or "finished"; "finished" after `load_run`.
        rank: number of the process among those that torchrun started. In others than 0 the files
            of the run may not be written yet.
    """

    def __init__(
        self,
        path: Path,
        before: Literal["new", "unfinished", "finished"] = "finished",
        rank: int = 0,
    ) -> None:
        self.path = path
        self.before = before
        self.rank = rank

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe. Raises RecipeError when recipe.toml is damaged."""
        with needs_extra("train", "Run.recipe"):
            from edgedistill.recipe import load_recipe
        return load_recipe(self.path / "recipe.toml")

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json: accuracy, H-score, AUROC and more on target and source validation.

        Raises RunFolderError when the file is missing or damaged; so do the other attributes.
        """
        return self._json("metrics.json")

    @property
    def environment(self) -> dict[str, Any]:
        """environment.json: versions, device and processes of the run."""
        return self._json("environment.json")

    @property
    def history(self) -> list[dict[str, float]]:
        """history.csv: step, lr, loss terms and val_accuracy of every validation.

        Raises RunFolderError when the file is missing or damaged.
        """
        path = self.path / "history.csv"
        try:
            with open(path, encoding="utf-8", newline="") as file:
                return [
                    {
                        name: int(value) if name == "step" else float(value)
                        for name, value in row.items()
                    }
                    for row in csv.DictReader(file)
                ]
        except (OSError, ValueError, TypeError):
            raise RunFolderError(f"{path}: missing or damaged; {_AGAIN}") from None

    @property
    def threshold(self) -> float:
        """Least score of an image answered with a class, calibrated on source validation.

        -inf when nothing is rejected. Raises RunFolderError when openset.json is missing or
        damaged.
        """
        try:
            value = self._json("openset.json")["threshold"]
            # JSON has no infinity.
            return -math.inf if value is None else float(value)
        except (KeyError, TypeError, ValueError):
            raise RunFolderError(
                f"{self.path / 'openset.json'}: has no threshold; {_AGAIN}"
            ) from None

    @property
    def report(self) -> Path:
        """report.html: the run on one page."""
        return self.path / "report.html"

    @cached_property
    def student(self) -> Student:
        """The trained network with the weights that ship, on the CPU, in evaluation mode.

        An `nn.Module` from images, float32 `[N, 3, S, S]` normalized, to its head's outputs.
        """
        with needs_extra("train", "Run.student"):
            from edgedistill.runs.finished import load_finished
            from edgedistill.runs.folder import RunFolder
        return load_finished(RunFolder(self.path)).student

    @overload
    def export(
        self,
        output: str | Path | None = None,
        *,
        format: Literal["onnx"] = "onnx",
        precision: Literal["fp32", "int8"] | None = None,
        size: int | None = None,
        max_drop: float = 0.01,
        classes: str | Path | Mapping[str, str | Sequence[str]] | None = None,
        calibrate: str | Path | None = None,
        data: str | Path | None = None,
        callbacks: Iterable[Callback] | None = None,
    ) -> Exported: ...

    @overload
    def export(
        self,
        output: str | Path | None = None,
        *,
        format: str,
        precision: str | None = None,
        size: int | None = None,
        max_drop: float = 0.01,
        classes: str | Path | Mapping[str, str | Sequence[str]] | None = None,
        calibrate: str | Path | None = None,
        data: str | Path | None = None,
        callbacks: Iterable[Callback] | None = None,
    ) -> ExportedFile: ...

    def export(
        self,
        output: str | Path | None = None,
        *,
        format: str = "onnx",
        precision: str | None = None,
        size: int | None = None,
        max_drop: float = 0.01,
        classes: str | Path | Mapping[str, str | Sequence[str]] | None = None,
        calibrate: str | Path | None = None,
        data: str | Path | None = None,
        callbacks: Iterable[Callback] | None = None,
    ) -> ExportedFile:
        """Write the student as a file that a device runs, checked against torch on real images.

        Args:
            output: the file; student.onnx, or student-int8.onnx, in the run folder when None, and
                prompted-NAME.onnx for classes of a file NAME.toml.
            format: one of `edgedistill.list_exporters()`.
            precision: one of the format's; its first, "fp32" for ONNX, when None. "int8" computes
                in int8 where that keeps the answers.
            size: input side in pixels, 32 to 1024; the run's when None.
            max_drop: shares of accuracy, of known images kept and of H-score, each in [0, 1], that
                a lower precision may lose on source images.
            classes: other classes than those of the training, for students of methods that project
                into the teacher's space: a TOML file, or class -> what a prompt calls it.
            data: folder that the run's images moved to.
            calibrate: folder of labelled images of `classes`, `class/*` or `domain/class/*`, that
                the threshold is calibrated on; folders of other names hold unknown images. Without
                one, the threshold is that of the trained classes, marked as carried over.
            callbacks: what hears of the progress; a `LoggingCallback` when None.

        Returns:
            What was written, and what it was checked with.

        Raises:
            UsageError: an argument has no such value.
            RecipeError: `classes` are not valid.
            DataError: images are not there, are no longer the run's, or none is of the classes.
            WeightsError: the teacher that is to encode `classes` is not there, or another.
            ExportRefused: a lower precision would lose more than `max_drop`; see its `numbers`.
            ExportError: the file cannot be written, or does not answer as the student does.
            RunFolderError: a file of the run is missing or damaged.
        """
        if max_drop < 0:
            raise UsageError(f"max_drop: {max_drop} is negative; give the share that may be lost")
        if calibrate is not None and classes is None:
            raise UsageError(
                "calibrate: is for other classes than those of the training; give them with classes"
            )
        # torch.onnx looks for its own needs only when it is called.
        with needs_extra("train", "export"):
            from edgedistill.export.base import ExportOptions, export_run
            from edgedistill.export.images import moved_data
            from edgedistill.export.promptable import with_classes
            from edgedistill.registries import EXPORTERS
            from edgedistill.runs.finished import load_finished
            from edgedistill.runs.folder import RunFolder

            exporter = EXPORTERS[format]
            chosen = precision or exporter.precisions[0]
            finished = load_finished(RunFolder(self.path))
            if data is not None:
                section = moved_data(finished.recipe.data, data)
                recipe = finished.recipe.model_copy(update={"data": section})
                finished = replace(finished, recipe=recipe)
            suffix = "" if chosen == exporter.precisions[0] else f"-{chosen}"
            target = self.path / f"{_stem(classes)}{suffix}{exporter.suffix}"
            options = ExportOptions(chosen, size, max_drop)
            with reporting([LoggingCallback()] if callbacks is None else callbacks) as active:
                if classes is not None:
                    finished = with_classes(finished, classes, calibrate, size)
                active.on_note(
                    f"{self.path}: exporting {finished.recipe.student.model} in {chosen}, then "
                    "checking the file on real images"
                )
                path = target if output is None else Path(output)
                return export_run(format, finished, path, options)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            values = None
        if not isinstance(values, dict):
            raise RunFolderError(f"{path}: missing or damaged; {_AGAIN}")
        return values


def _stem(classes: object | None) -> str:
    """Name of an exported file without its precision and ending."""
    if classes is None:
        return "student"
    return f"prompted-{Path(classes).stem}" if isinstance(classes, str | Path) else "prompted"


_AGAIN = "delete metrics.json beside it and run the recipe again"


def load_run(path: str | Path | None = None, *, runs: str | Path = "runs") -> Run:
    """A finished run: by its folder, by its name in the folder `runs`, or the newest there (None).

    Raises RunFolderError when there is none, or when it is not finished.

    Examples:
        >>> ed.load_run("runs/a").threshold > float("-inf")
        True
    """
    return Run(find_run(None if path is None else str(path), Path(runs)))
