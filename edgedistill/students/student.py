"""The student module: a backbone and a method's head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD, Channels
from edgedistill.methods.base import StudentOutput


class Student(nn.Module):
    """Backbone and head of a student.

    Args:
        backbone: from normalized images to pooled features.
        head: from features to StudentOutput.
        freeze_bn: keep the backbone's batch-norm statistics at their initial values, also after
            ``train()``; scale and shift stay trainable.
        mean, std: per-channel statistics its input is normalized with, of pixels in 0..1.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        freeze_bn: bool = False,
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.freeze_bn = freeze_bn
        self.mean = mean
        self.std = std
        self.train(self.training)

    def train(self, mode: bool = True) -> Student:
        super().train(mode)
        if self.freeze_bn:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> StudentOutput:
        """Normalized images, float32 [B, 3, S, S], to features, logits and projection."""
        output: StudentOutput = self.head(self.backbone(images))
        return output
