"""The registries: what a recipe or a command can name, and what a program can add to.

- `DATASETS`: functions that return a `data.index.Index`; built in are those of `data/datasets/`. A
  function with a parameter `root` is given the recipe's `data.root`.
- `EXPORTERS`: subclasses of `export.base.Exporter`; built in are those of `export/`.
- `LOGGERS`: subclasses of `loggers.base.Logger`; built in are those of `loggers/`.
- `METHODS`: subclasses of `methods.base.Method`; built in are those of `methods/`.
- `SCORES`: subclasses of `openset.scores.base.Score`; built in are those of `openset/scores/`.
- `STUDENTS`: a `students.base.Architecture` or a function that makes an `nn.Module`; `students/`.

Each imports its built-in entries at the first look-up, so that a recipe can be checked against
them by a module that is below them, and this module needs no training library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgedistill._utils.registry import Registry
from edgedistill.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from edgedistill.data.index import Index
    from edgedistill.export.base import Exporter
    from edgedistill.loggers.base import Logger
    from edgedistill.methods.base import Method
    from edgedistill.openset.scores.base import Score
    from edgedistill.students.base import Architecture

DATASETS: Registry[Callable[..., Index]] = Registry("dataset", "edgedistill.data.datasets")
EXPORTERS: Registry[type[Exporter]] = Registry("exporter", "edgedistill.export", error=UsageError)
LOGGERS: Registry[type[Logger]] = Registry("logger", "edgedistill.loggers")
METHODS: Registry[type[Method[Any, Any]]] = Registry("method", "edgedistill.methods")
SCORES: Registry[type[Score]] = Registry("score", "edgedistill.openset.scores")
STUDENTS: Registry[Architecture | Callable[[], nn.Module]] = Registry(
    "student",
    "edgedistill.students",
    beyond="another classifier of torchvision, or timm/NAME",
)
