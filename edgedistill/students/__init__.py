"""Student networks: architectures, their weights, and the module that is trained and shipped."""

from edgedistill.registries import STUDENTS
from edgedistill.students.base import Architecture
from edgedistill.students.build import architecture, build_backbone, start_projection
from edgedistill.students.student import Student

__all__ = [
    "STUDENTS",
    "Architecture",
    "Student",
    "architecture",
    "build_backbone",
    "start_projection",
]
