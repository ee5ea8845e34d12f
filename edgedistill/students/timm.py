"""timm's networks as students, by timm's name behind `timm/`.

Feature width, pixel statistics and input side are those of timm's `pretrained_cfg`. The trunk's
state dict carries timm's own names, without the classifier. timm is imported when a name of it is
looked up: a second that other recipes do not wait for.
"""

from __future__ import annotations

import contextlib
import difflib
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError
from torch import Tensor, nn

from edgedistill._utils.cache_dir import cache_dir
from edgedistill._utils.hub import hub_unless_unreachable, is_offline_error
from edgedistill.data.normalization import Channels
from edgedistill.errors import RecipeError, WeightsError
from edgedistill.registries import STUDENTS
from edgedistill.students.base import Architecture
from edgedistill.students.weights import one_line, output_width

PREFIX = "timm/"
_UNREADABLE = (OSError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError)


class TimmArchitecture(Architecture):
    """Network of timm; `name` may carry timm's tag of the weights, `NAME.TAG`."""

    def __init__(self, name: str) -> None:
        import timm

        config = timm.get_pretrained_cfg(name)
        assert config is not None
        self.name = name
        self._config = config
        self.mean = _channels(self._config.mean)
        self.std = _channels(self._config.std)
        self.fixed_size = bool(self._config.fixed_input_size)

    @property
    def default_size(self) -> int:
        """Side of the images that its published weights were trained on."""
        side: int = self._config.input_size[-1]
        return side

    @property
    def summary(self) -> str:
        """Name and input side in timm."""
        return f"timm's {self.name}, published with {self.default_size} pixels"

    def build(self, size: int | None = None) -> tuple[nn.Module, int]:
        """The trunk and its feature width, for networks of a fixed side built for `size`.

        Raises RecipeError for a size that the network cannot take.
        """
        side = size or self.default_size
        try:
            network = self._network(size)
            return network, output_width(network, side)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(
                f"student.size: {PREFIX}{self.name} takes no images of {side} pixels "
                f"({one_line(error)[:200]}); it was published with {self.default_size}"
            ) from None

    def published_weights(self, weights: str, size: int | None = None) -> dict[str, Tensor]:
        """timm's default weights, or those of the name's tag, without the classifier's.

        Position embeddings are resampled to `size`, by timm. A file placed by hand in the cache
        folder comes before the hub.
        Raises WeightsError where there are none or they cannot be had.
        """
        hub = self._config.hf_hub_id
        if weights != "imagenet" or not (hub or self._config.url):
            known = ' use "imagenet"' if hub or self._config.url else ' use "none"'
            raise WeightsError(f"timm has no '{weights}' weights for {self.name}:{known}")
        file = self.placed_file()
        overlay = {"file": str(file)} if file.is_file() else None
        unreachable = ""
        try:
            # The whole network, so that timm refuses a file that lacks some of its tensors.
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
                if hub and overlay is None:
                    unreachable = stack.enter_context(hub_unless_unreachable())
                network = self._network(size, pretrained=True, pretrained_cfg_overlay=overlay)
        except _UNREADABLE as error:
            published = f"model.safetensors of huggingface.co/{hub}" if hub else self._config.url
            reason = unreachable if is_offline_error(error) else one_line(error)[:200]
            raise WeightsError(
                f"cannot load timm's weights of {self.name} ({reason}): put "
                f"{published} at {file} by hand"
            ) from error
        return network.state_dict()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """timm's names of them."""
        names = self._config.classifier or ()
        return (names,) if isinstance(names, str) else tuple(names)

    def trunk_state(
        self, state: Mapping[str, Tensor], trunk: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """As of every architecture; position embeddings are resampled to the trunk's grid."""
        tensors, omitted = super().trunk_state(state, trunk)
        own, given = getattr(trunk, "pos_embed", None), tensors.get("pos_embed")
        grid = getattr(getattr(trunk, "patch_embed", None), "grid_size", None)
        if own is None or given is None or grid is None or own.shape == given.shape:
            return tensors, omitted
        if own.ndim == given.ndim == 3 and own.shape[-1] == given.shape[-1]:
            from timm.layers import resample_abs_pos_embed

            prefix = own.shape[1] - grid[0] * grid[1]
            tensors["pos_embed"] = resample_abs_pos_embed(
                given.float(), list(grid), num_prefix_tokens=prefix
            )
        return tensors, omitted

    def placed_file(self) -> Path:
        """Path at which published weights are looked for before the hub is asked."""
        architecture, tag = self._config.architecture, self._config.tag
        name = f"timm-{architecture}.{tag}" if tag else f"timm-{architecture}"
        return cache_dir() / "weights" / "published" / f"{name}.safetensors"

    def _network(self, size: int | None, **arguments: Any) -> nn.Module:
        import timm

        if size is not None and self.fixed_size:
            arguments["img_size"] = size
        network: Any = timm.create_model(self.name, **arguments)
        network.reset_classifier(0)
        return cast(nn.Module, network)


@STUDENTS.resolver
def named(name: str) -> TimmArchitecture | None:
    """The architecture of a name that begins with `timm/`.

    Raises RecipeError for a name that timm does not have.
    """
    if not name.startswith(PREFIX):
        return None
    import timm

    name = name.removeprefix(PREFIX)
    known = timm.list_models(include_tags="." in name)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(PREFIX + n) for n in near)}? " if near else ""
        raise RecipeError(f"timm has no model {name!r}; {hint}timm.list_models() has all names")
    return TimmArchitecture(name)


def _channels(values: tuple[float, ...]) -> Channels:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
