"""Students: small torchvision trunks, where their weights come from, and the trained module.

A backbone maps float32 [B, 3, S, S], normalised with ImageNet's statistics, to pooled features
[B, d] for any S. Its state dict carries torchvision's own names, without the classifier.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.errors import WeightsError
from edgedistill.methods.base import StudentOutput
from edgedistill.students.int8_weights import from_int8

MEAN = IMAGENET_MEAN
STD = IMAGENET_STD
EMBEDDED_FOLDER = Path(__file__).parents[1] / "weights"
# Tensor and metadata key of start weights that were distilled from a teacher's embeddings.
PROJECTION = "projection.weight"
PROJECTION_TEACHER = "projection_teacher"

# Names of the choices a recipe offers, and torchvision's version each one means.
TORCHVISION_VERSIONS = {"imagenet": "IMAGENET1K_V1", "imagenet-v2": "IMAGENET1K_V2"}


@dataclass(frozen=True)
class StudentSpec:
    """What the registry knows about one student."""

    builder: Callable[..., nn.Module]
    """torchvision's constructor."""
    weights: str
    """Name of torchvision's weights enum."""
    feature_dim: int
    """Width d of the pooled features."""
    classifier: str
    """Attribute of torchvision's model that holds everything behind the pooling."""
    cpu_bf16: bool = False
    """Whether it was measured to train faster in bfloat16 on a CPU with instructions for it."""


STUDENTS: dict[str, StudentSpec] = {
    "resnet18": StudentSpec(models.resnet18, "ResNet18_Weights", 512, "fc", cpu_bf16=True),
    "resnet50": StudentSpec(models.resnet50, "ResNet50_Weights", 2048, "fc"),
    "efficientnet_b0": StudentSpec(
        models.efficientnet_b0, "EfficientNet_B0_Weights", 1280, "classifier"
    ),
    "mobilenet_v3_small": StudentSpec(
        models.mobilenet_v3_small, "MobileNet_V3_Small_Weights", 576, "classifier"
    ),
    "mobilenet_v3_large": StudentSpec(
        models.mobilenet_v3_large, "MobileNet_V3_Large_Weights", 960, "classifier"
    ),
}


class Student(nn.Module):
    """A backbone and a method's head.

    ``freeze_bn`` keeps the backbone's batch-norm statistics at their initial values, also after
    ``train()``; scale and shift stay trainable.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, *, freeze_bn: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.freeze_bn = freeze_bn
        self.train(self.training)

    def train(self, mode: bool = True) -> Student:
        super().train(mode)
        if self.freeze_bn:
            for module in self.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> StudentOutput:
        """Normalised images, float32 [B, 3, S, S], to features, logits and projection."""
        output: StudentOutput = self.head(self.backbone(images))
        return output


def build_backbone(name: str, weights: str = "none") -> tuple[nn.Module, int]:
    """A student's trunk and the width of its features.

    ``weights`` is "none" (drawn from torch's global generator), "imagenet" or "imagenet-v2"
    (torchvision's), "embedded" (shipped with the package, or else built by the user, see
    `built_weights`) or the path of a safetensors file.
    Raises EdgeDistillError for an unknown student or weights that cannot be had or do not fit.
    """
    spec = student_spec(name)
    backbone = spec.builder(weights=None)
    setattr(backbone, spec.classifier, nn.Identity())
    if weights in TORCHVISION_VERSIONS:
        _load(backbone, _torchvision_state(name, spec, weights), f"weights '{weights}' of {name}")
    elif weights == "embedded":
        path = _embedded_path(name)
        _load(backbone, read_safetensors(path), str(path))
    elif weights != "none":
        _load(backbone, read_safetensors(Path(weights)), weights)
    return backbone, spec.feature_dim


def start_projection(name: str, weights: str, teacher: str) -> Tensor | None:
    """The map from features to a teacher's embeddings that comes with some start weights.

    ``weights`` as in `build_backbone`, ``teacher`` the fingerprint of the teacher in use. Returns
    float32 [D, d], or None where the weights bring none for this very teacher.
    """
    if weights in {"none", *TORCHVISION_VERSIONS}:
        return None
    path = _embedded_path(name) if weights == "embedded" else Path(weights)
    with safe_open(path, "pt") as file:
        if (file.metadata() or {}).get(PROJECTION_TEACHER) != teacher:
            return None
    found = read_safetensors(path).get(PROJECTION)
    return None if found is None else found.float()


def student_spec(name: str) -> StudentSpec:
    """The registry's entry. Raises EdgeDistillError for an unknown name."""
    if name not in STUDENTS:
        raise WeightsError(f"unknown student '{name}': choose one of {', '.join(STUDENTS)}")
    return STUDENTS[name]


def embedded_students() -> tuple[str, ...]:
    """Students whose initial weights are shipped with the package."""
    return tuple(name for name in STUDENTS if _embedded_file(name).is_file())


def built_weights(name: str) -> Path:
    """Where benchmarks/weights/train_start.py puts a student's start weights by default."""
    return cache_dir() / "weights" / f"{name}.safetensors"


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU; those stored in int8 as float32.

    Raises EdgeDistillError if it cannot be read.
    """
    if not path.is_file():
        raise WeightsError(
            f"no weights at '{path}': give a safetensors file, or one of none, embedded, "
            f"{', '.join(TORCHVISION_VERSIONS)}"
        )
    try:
        return from_int8(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is not a readable safetensors file ({_one_line(error)})"
        ) from error


def _embedded_file(name: str) -> Path:
    return EMBEDDED_FOLDER / f"student-{name}.safetensors"


def _embedded_path(name: str) -> Path:
    """Shipped weights come first: what "embedded" means must not depend on the cache folder."""
    for path in (_embedded_file(name), built_weights(name)):
        if path.is_file():
            return path
    shipped = ", ".join(embedded_students()) or "no student"
    raise WeightsError(
        f"no embedded weights for student '{name}': the package has them for {shipped}; "
        f"'python -m benchmarks.weights.train_start ART TEACHER --student {name}' builds "
        f'{built_weights(name)} (benchmarks/weights/README.md); or use weights = "imagenet", '
        '"none" or a path'
    )


def _torchvision_state(name: str, spec: StudentSpec, weights: str) -> dict[str, Tensor]:
    versions = getattr(models, spec.weights).__members__
    version = TORCHVISION_VERSIONS[weights]
    if version not in versions:
        raise WeightsError(
            f"torchvision has no '{weights}' ({version}) weights for {name}: use \"imagenet\""
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
            f"cannot load the ImageNet weights of {name} ({_one_line(error)}): "
            f"put {file} into {folder} by hand"
        ) from error
    return {key: t for key, t in state.items() if not key.startswith(f"{spec.classifier}.")}


def _load(backbone: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    state = {key: value for key, value in state.items() if key != PROJECTION}
    expected = backbone.state_dict()
    # Weights saved before batch norm counted its batches lack the counters; nothing reads them.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    misshapen = [k for k in expected if k in state and expected[k].shape != state[k].shape]
    for problem, keys in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", misshapen),
    ):
        if keys:
            raise WeightsError(
                f"{origin} does not fit the student: {len(keys)} tensor(s) {problem}, "
                f"first '{keys[0]}'"
            )
    backbone.load_state_dict(dict(state), strict=False)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
