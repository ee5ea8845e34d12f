"""torchvision's classification networks as students.

Those that were measured are registered; the others can be asked for by torchvision's name. The
trunk's state dict carries torchvision's own names, without the classifier.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision import models

from edgedistill.errors import WeightsError
from edgedistill.registries import STUDENTS
from edgedistill.students.base import Architecture
from edgedistill.students.weights import one_line

# Names of the choices a recipe offers, and torchvision's version each one means.
VERSIONS = {"imagenet": "IMAGENET1K_V1", "imagenet-v2": "IMAGENET1K_V2"}
_CLASSIFIERS = ("fc", "classifier", "head")


class TorchvisionArchitecture(Architecture):
    """Network of torchvision, fully convolutional or pooled, for any input side."""

    def __init__(self, name: str, *, cpu_bf16: bool = False) -> None:
        self.name = name
        self.cpu_bf16 = cpu_bf16

    @property
    def summary(self) -> str:
        """Size of the trunk and width of its features."""
        with torch.device("meta"):
            network, feature_dim = self.build()
        millions = sum(weight.numel() for weight in network.parameters()) / 1e6
        return f"torchvision, {millions:.1f} million weights, {feature_dim} features"

    def build(self, size: int | None = None) -> tuple[nn.Module, int]:
        """The trunk and its feature width; `size` does not matter."""
        network = models.get_model(self.name, weights=None)
        attribute, feature_dim = _classifier(network)
        setattr(network, attribute, nn.Identity())
        return network, feature_dim

    def published_weights(self, weights: str, size: int | None = None) -> dict[str, Tensor]:
        """torchvision's ImageNet weights without the classifier's.

        Raises WeightsError where there are none of that version or they cannot be had.
        """
        versions = models.get_model_weights(self.name).__members__
        version = VERSIONS[weights]
        if version not in versions:
            raise WeightsError(
                f"torchvision has no '{weights}' ({version}) weights for {self.name}: use "
                '"imagenet"'
            )
        source = versions[version]
        try:
            # torch.hub announces the download on stdout, which belongs to the command's results.
            with contextlib.redirect_stdout(sys.stderr):
                state: dict[str, Tensor] = source.get_state_dict(
                    progress=sys.stderr.isatty(), check_hash=True, weights_only=True
                )
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            file = PurePosixPath(urlparse(source.url).path).name
            folder = Path(torch.hub.get_dir()) / "checkpoints"
            raise WeightsError(
                f"cannot load the ImageNet weights of {self.name} ({one_line(error)}): "
                f"put {file} into {folder} by hand"
            ) from error
        with torch.device("meta"):
            attribute, _ = _classifier(models.get_model(self.name, weights=None))
        return {key: t for key, t in state.items() if not key.startswith(f"{attribute}.")}


def _classifier(network: nn.Module) -> tuple[str, int]:
    """Attribute of what stands behind a network's pooling, and the width that enters it.

    Raises ValueError for a network that does more there than linear layers.
    """
    for attribute in _CLASSIFIERS:
        classifier = getattr(network, attribute, None)
        layers = [classifier] if isinstance(classifier, nn.Linear) else classifier
        if isinstance(layers, nn.Sequential | list):
            first = next((x for x in layers if not isinstance(x, nn.Dropout)), None)
            if isinstance(first, nn.Linear):
                return attribute, first.in_features
    raise ValueError("no linear classifier behind the pooling")


for _student in (
    TorchvisionArchitecture("resnet18", cpu_bf16=True),
    TorchvisionArchitecture("resnet50"),
    TorchvisionArchitecture("efficientnet_b0"),
    TorchvisionArchitecture("mobilenet_v3_small"),
    TorchvisionArchitecture("mobilenet_v3_large"),
):
    STUDENTS.add(_student.name, _student)


@STUDENTS.resolver
def unmeasured(name: str) -> TorchvisionArchitecture | None:
    """The architecture of any other classifier of torchvision that ends in linear layers."""
    # Auxiliary classifiers give other outputs in training.
    if name not in models.list_models(module=models) or name in ("googlenet", "inception_v3"):
        return None
    with torch.device("meta"), contextlib.suppress(ValueError):
        _classifier(models.get_model(name, weights=None))
        return TorchvisionArchitecture(name)
    return None
