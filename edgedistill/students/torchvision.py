"""torchvision's classification networks as students.

Those that were measured are registered; the others can be asked for by torchvision's name. The
trunk's state dict carries torchvision's own names, without the classifier.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from functools import cache
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
# Auxiliary classifiers give other outputs in training; MaxViT is built for one input side.
_OTHERS = ("googlenet", "inception_v3", "maxvit_t")


class TorchvisionArchitecture(Architecture):
    """Network of torchvision, fully convolutional or pooled, for any input side."""

    def __init__(
        self, name: str, *, embedded_size: int | None = None, cpu_bf16: bool = False
    ) -> None:
        self.name = name
        self.embedded_size = embedded_size
        self.cpu_bf16 = cpu_bf16

    @property
    def default_size(self) -> int:
        """Side of the images that its published weights were evaluated on."""
        crop: int = models.get_model_weights(self.name)["DEFAULT"].transforms.keywords["crop_size"]
        return crop

    @property
    def summary(self) -> str:
        """Size of the trunk and width of its features."""
        network = _outline(self.name)
        _, feature_dim = _remove_classifier(network)
        millions = sum(weight.numel() for weight in network.parameters()) / 1e6
        return f"torchvision, {millions:.1f} million weights, {feature_dim} features"

    def build(self, size: int | None = None) -> tuple[nn.Module, int]:
        """The trunk and its feature width; `size` does not matter."""
        network = models.get_model(self.name, weights=None)
        _, feature_dim = _remove_classifier(network)
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
        return self.trunk_state(state, self._trunk)[0]

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The attribute that has the linear layers behind the pooling."""
        attribute, _ = _remove_classifier(_outline(self.name))
        return (attribute,)

    @property
    def _trunk(self) -> nn.Module:
        trunk = _outline(self.name)
        _remove_classifier(trunk)
        return trunk


def _outline(name: str) -> nn.Module:
    """The network without values of its own; torch's random numbers stay as they are."""
    try:
        with torch.device("meta"):
            return models.get_model(name, weights=None)
    except NotImplementedError:
        # RegNet reads its widths from tensors, which have no values on that device.
        with torch.random.fork_rng(devices=[]):
            return models.get_model(name, weights=None)


def _remove_classifier(network: nn.Module) -> tuple[str, int]:
    """Take off a network's linear layers behind the pooling, and the dropout before them.

    What else stands before them, as ConvNeXt's norm, stays.

    Returns:
        The attribute that had them, and the width that entered them.

    Raises ValueError for a network without.
    """
    for attribute in _CLASSIFIERS:
        classifier = getattr(network, attribute, None)
        layers = [classifier] if isinstance(classifier, nn.Linear) else classifier
        if not isinstance(layers, nn.Sequential | list):
            continue
        before: list[nn.Module] = []
        for layer in layers:
            if isinstance(layer, nn.Linear):
                setattr(network, attribute, nn.Sequential(*before) if before else nn.Identity())
                return attribute, layer.in_features
            if not isinstance(layer, nn.Dropout):
                before.append(layer)
    raise ValueError("no linear classifier behind the pooling")


for _student in (
    TorchvisionArchitecture("resnet18", embedded_size=96, cpu_bf16=True),
    TorchvisionArchitecture("resnet50"),
    TorchvisionArchitecture("efficientnet_b0", embedded_size=96),
    TorchvisionArchitecture("mobilenet_v3_small", embedded_size=96),
    TorchvisionArchitecture("mobilenet_v3_large", embedded_size=96),
):
    STUDENTS.add(_student.name, _student)


@STUDENTS.resolver
@cache
def unmeasured(name: str) -> TorchvisionArchitecture | None:
    """The architecture of any other classifier of torchvision that ends in linear layers."""
    if name not in models.list_models(module=models) or name in _OTHERS:
        return None
    with contextlib.suppress(ValueError):
        _remove_classifier(_outline(name))
        return TorchvisionArchitecture(name)
    return None
