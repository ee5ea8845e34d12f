"""Registries as functions: names that a recipe or a command can ask for, and how to add to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from edgedistill.registries import DATASETS, EXPORTERS, LOGGERS, METHODS, SCORES, STUDENTS

if TYPE_CHECKING:
    from torch import nn

    from edgedistill.data.index import Index
    from edgedistill.export.base import Exporter
    from edgedistill.loggers.base import Logger
    from edgedistill.methods.base import Method
    from edgedistill.openset.scores.base import Score

MethodT = TypeVar("MethodT", bound="type[Method[Any, Any]]")
DatasetT = TypeVar("DatasetT", bound="Callable[..., Index]")
ScoreT = TypeVar("ScoreT", bound="type[Score]")
ExporterT = TypeVar("ExporterT", bound="type[Exporter]")
LoggerT = TypeVar("LoggerT", bound="type[Logger]")
StudentT = TypeVar("StudentT", bound="Callable[[], nn.Module]")


def list_methods() -> list[str]:
    """Names for `method.name`: the built-in training methods, then registered ones.

    Examples:
        >>> "scipd" in ed.list_methods()
        True
    """
    return list(METHODS)


def list_students() -> list[str]:
    """Names for `student.model`: the built-in networks, then registered ones.

    Examples:
        >>> "resnet18" in ed.list_students()
        True
    """
    return list(STUDENTS)


def list_datasets() -> list[str]:
    """Names for `data.dataset`: embedded and published datasets, then registered ones.

    Examples:
        >>> "emoji" in ed.list_datasets()
        True
    """
    return list(DATASETS)


def list_scores() -> list[str]:
    """Names for `openset.score`: the built-in openness scores, then registered ones.

    Examples:
        >>> "energy" in ed.list_scores()
        True
    """
    return list(SCORES)


def list_exporters() -> list[str]:
    """Names for the `format` of `Run.export`: the built-in formats, then registered ones.

    Examples:
        >>> ed.list_exporters()
        ['onnx']
    """
    return list(EXPORTERS)


def list_loggers() -> list[str]:
    """Names for `log.to`: the built-in experiment trackers, then registered ones.

    Examples:
        >>> "tensorboard" in ed.list_loggers()
        True
    """
    return list(LOGGERS)


def list_benchmarks() -> list[str]:
    """Names of published benchmarks that are read from the user's copy.

    Examples:
        >>> "pacs" in ed.list_benchmarks()
        True
    """
    from edgedistill.data.published.benchmarks import benchmarks

    return list(benchmarks())


def register_method(name: str) -> Callable[[MethodT], MethodT]:
    """A decorator that enters a subclass of `edgedistill.methods.Method` under `name`.

    Raises ValueError when the name is taken.
    """
    return METHODS.register(name)


def register_student(name: str) -> Callable[[StudentT], StudentT]:
    """A decorator that enters a function returning an `nn.Module` under `name`.

    The module maps images, float32 `[N, 3, S, S]`, to features `[N, D]`. Raises ValueError when the
    name is taken.
    """
    return STUDENTS.register(name)


def register_dataset(name: str) -> Callable[[DatasetT], DatasetT]:
    """A decorator that enters a function returning an `edgedistill.data.index.Index`.

    A function with a parameter `root` is given the recipe's `data.root`. Raises ValueError when the
    name is taken.
    """
    return DATASETS.register(name)


def register_score(name: str) -> Callable[[ScoreT], ScoreT]:
    """A decorator that enters a subclass of `edgedistill.openset.scores.base.Score`.

    Raises ValueError when the name is taken.
    """
    return SCORES.register(name)


def register_exporter(name: str) -> Callable[[ExporterT], ExporterT]:
    """A decorator that enters a subclass of `edgedistill.export.base.Exporter`.

    Raises ValueError when the name is taken.
    """
    return EXPORTERS.register(name)


def register_logger(name: str) -> Callable[[LoggerT], LoggerT]:
    """A decorator that enters a subclass of `edgedistill.loggers.Logger`.

    Raises ValueError when the name is taken.
    """
    return LOGGERS.register(name)
