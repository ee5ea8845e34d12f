"""Training methods, one file each; `METHODS` has them by name."""

from edgedistill.methods.base import (
    DomainMethod,
    Method,
    Mixture,
    ParamGroup,
    SourceRows,
    StudentOutput,
    TeacherOutputs,
)
from edgedistill.methods.hyper import (
    HyperParameters,
    SearchRange,
    authors_default,
    authors_values,
    search_space,
)
from edgedistill.registries import METHODS

__all__ = [
    "METHODS",
    "DomainMethod",
    "HyperParameters",
    "Method",
    "Mixture",
    "ParamGroup",
    "SearchRange",
    "SourceRows",
    "StudentOutput",
    "TeacherOutputs",
    "authors_default",
    "authors_values",
    "search_space",
]
