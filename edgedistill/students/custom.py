"""Students given from Python: any function without parameters that returns an `nn.Module`.

    @STUDENTS.register("tiny")
    def tiny() -> nn.Module:
        \"\"\"Two convolutions and a mean.\"\"\"
        return nn.Sequential(...)

The module maps normalized float32 [B, 3, S, S] to features [B, d]. Attributes of the function (or
class), where it has them: `mean` and `std`, the pixel statistics instead of ImageNet's, and
`default_size`, the input side of a recipe that names none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.errors import RecipeError
from edgedistill.students.base import Architecture
from edgedistill.students.weights import one_line, output_width


class CustomArchitecture(Architecture):
    """Network that a function makes."""

    def __init__(self, factory: Callable[[], nn.Module]) -> None:
        self._factory = factory
        self.mean = getattr(factory, "mean", IMAGENET_MEAN)
        self.std = getattr(factory, "std", IMAGENET_STD)

    @property
    def default_size(self) -> int | None:
        """The function's attribute of that name."""
        size: int | None = getattr(self._factory, "default_size", None)
        return size

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self._factory) or "").partition("\n")[0]

    def build(self, size: int | None = None) -> tuple[nn.Module, int]:
        """A new module and its feature width. Raises RecipeError for a size it cannot take."""
        network = self._factory()
        side = size or self.default_size or 224
        try:
            return network, output_width(network, side)
        except (RuntimeError, ValueError) as error:
            raise RecipeError(
                f"student.size: the student takes no images of {side} pixels "
                f"({one_line(error)[:200]})"
            ) from None
