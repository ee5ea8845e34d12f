"""Runs a program where packages cannot be imported, as on a machine that has not got them.

python without_packages.py FORBIDDEN MISSING -m MODULE ARGUMENT...
python without_packages.py FORBIDDEN MISSING FILE ARGUMENT...

Names of packages have commas between them. The import of a forbidden one is an AssertionError, so
that no `except ImportError` hides it; that of a missing one is a ModuleNotFoundError.
"""

from __future__ import annotations

import runpy
import sys


class Absent:
    """A finder of `sys.meta_path` that comes first, and finds no other module."""

    def __init__(self, forbidden: set[str], missing: set[str]) -> None:
        self._forbidden, self._missing = forbidden, missing

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        package = name.partition(".")[0]
        if package in self._missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if package in self._forbidden:
            raise AssertionError(f"imports {name}")


_, forbidden, missing, *program = sys.argv
sys.meta_path.insert(0, Absent(set(forbidden.split(",")), set(missing.split(","))))  # type: ignore[arg-type]
if program[0] == "-m":
    sys.argv = program[1:]
    runpy.run_module(program[1], run_name="__main__")
else:
    sys.argv = program
    runpy.run_path(program[0], run_name="__main__")
