"""Runs: from a recipe to a run folder, and a run folder read back.

The package is also the function `edgedistill.run`: importing any module of it sets the attribute
`run` of `edgedistill` to this package, which would hide a function of that name.
"""

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """See `edgedistill.run.start.run`."""
        from edgedistill.run.start import run

        return run(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
