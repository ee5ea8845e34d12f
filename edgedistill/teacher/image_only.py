"""Teachers without a text tower: timm's networks, by timm's name behind `timm/`.

An image's embedding is what the network pools, scaled to unit length. There are no class texts and
so no zero-shot answers: such a teacher is for `edgedistill pretrain`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from edgedistill import callbacks
from edgedistill.errors import RecipeError, WeightsError
from edgedistill.students.build import architecture
from edgedistill.students.checkpoints import read_checkpoint
from edgedistill.students.timm import PREFIX
from edgedistill.students.weights import load_into
from edgedistill.teacher.base import Teacher, weights_fingerprint

__all__ = ["PREFIX", "load_image_teacher"]


class _ImageTower(nn.Module):
    """A trunk with the interface of open_clip's networks, as far as it goes."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def encode_image(self, images: Tensor) -> Tensor:
        features: Tensor = self.trunk(images)
        return features


def load_image_teacher(
    model: str, pretrained: str, device: torch.device, size: int | None = None
) -> Teacher:
    """Load a network of timm as a teacher.

    Args:
        model: `timm/NAME`, with or without timm's tag of the weights.
        pretrained: a safetensors file, or one that `torch.save` wrote; "" for timm's own weights.
        size: input side in pixels, None for that of the published weights.

    Raises:
        RecipeError: timm has no such network, or it takes no images of that side.
        WeightsError: the weights cannot be had or do not fit.
    """
    network = architecture(model)
    side = size or network.default_size
    assert side is not None, "a network of timm has a side"
    try:
        trunk, width = network.build(side)
    except RecipeError:
        raise RecipeError(
            f"teacher.size: {model} takes no images of {side} pixels; it was published with "
            f"{network.default_size}"
        ) from None
    if pretrained:
        file = Path(pretrained)
        if not file.is_file():
            raise WeightsError(
                f"teacher.pretrained: {pretrained!r} is no file; give one with the weights of "
                f"{model}, or leave it out for timm's own"
            )
        state, omitted = network.trunk_state(read_checkpoint(file).tensors, trunk)
        load_into(trunk, state, f"teacher.pretrained: {file}")
        if omitted:
            callbacks.current().on_note(
                f"teacher.pretrained: {file}: the classifier is left out ({', '.join(omitted)})"
            )
    else:
        load_into(trunk, network.published_weights("imagenet", side), f"timm's weights of {model}")
    tower = _ImageTower(trunk).to(device).eval().requires_grad_(False)
    tower.to(memory_format=torch.channels_last)
    return Teacher(
        model=tower,
        tokenizer=None,
        name=f"{model}/{pretrained}" if pretrained else model,
        fingerprint=weights_fingerprint(tower),
        size=side,
        width=width,
        mean=network.mean,
        std=network.std,
        logit_scale=1.0,
        device=device,
    )
