"""Training methods, one file each, and the table of their names."""

from __future__ import annotations

from typing import Any

from edgedistill.methods.base import (
    Method,
    ParamGroup,
    StudentOutput,
    TeacherOutputs,
    authors_values,
)
from edgedistill.methods.clipbase import CLIPBase
from edgedistill.methods.erm import ERM
from edgedistill.methods.kd import KD
from edgedistill.methods.scipd import SCIPD
from edgedistill.methods.scmd import SCMD

METHODS: dict[str, type[Method[Any, Any]]] = {
    "erm": ERM,
    "kd": KD,
    "clipbase": CLIPBase,
    "scipd": SCIPD,
    "scmd": SCMD,
}

__all__ = ["METHODS", "Method", "ParamGroup", "StudentOutput", "TeacherOutputs", "authors_values"]
