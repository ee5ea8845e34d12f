"""The interface of a student's architecture: a trunk without classifier, and its pixel statistics.

Adding one is adding a file to ``edgedistill.students`` that registers it with `STUDENTS`, or
registering a function that returns an `nn.Module` (see `custom.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD, Channels
from edgedistill.errors import WeightsError


class Architecture(ABC):
    """Network architecture of a student.

    Attributes:
        mean, std: per-channel statistics its input is normalized with, of pixels in 0..1.
        embedded_size: side that the start weights shipped with the package were distilled at.
        fixed_size: whether a network is built for one input side and takes no other.
        cpu_bf16: whether it was measured to train faster in bfloat16 on a CPU that has it.
    """

    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    embedded_size: int | None = None
    fixed_size: bool = False
    cpu_bf16: bool = False

    @property
    def default_size(self) -> int | None:
        """Input side of a recipe that names none; None for the recipe's own default."""
        return None

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the modules that the published network has and the trunk has not."""
        return ()

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line for tables."""

    @abstractmethod
    def build(self, size: int | None = None) -> tuple[nn.Module, int]:
        """A trunk with random weights, and the width d of its features.

        The trunk maps normalized float32 [B, 3, size, size] to pooled features [B, d]. Initial
        values are drawn from torch's global generator. ``size`` None is the side that the
        architecture was published with.
        Raises RecipeError for a size that it cannot take.
        """

    def published_weights(self, weights: str, size: int | None = None) -> dict[str, Tensor]:
        """State of the trunk that ``build(size)`` returns, as its authors trained it.

        ``weights`` is "imagenet" or "imagenet-v2".
        Raises WeightsError where there are none or they cannot be had.
        """
        raise WeightsError(
            f"student.weights: no weights {weights!r} come with this student; use 'none' or a "
            "safetensors file"
        )

    def trunk_state(
        self, state: Mapping[str, Tensor], trunk: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Tensors of a state of the published network that `trunk` has, and the others' names.

        Only the classifiers' tensors are left out: whatever else the trunk lacks stays, for
        `load_into` to refuse.
        """
        own = trunk.state_dict()
        prefixes = tuple(f"{name}." for name in self.classifiers)
        omitted = [k for k in state if k not in own and k.startswith(prefixes)]
        return {k: t for k, t in state.items() if k not in omitted}, omitted
