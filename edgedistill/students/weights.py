"""Weights of students: the files they come from, and whether they fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.errors import WeightsError
from edgedistill.registries import STUDENTS
from edgedistill.students.int8_weights import dequantize_tensors

EMBEDDED_FOLDER = Path(__file__).parents[1] / "weights"
# Tensor and metadata key of start weights that were distilled from a teacher's embeddings.
PROJECTION = "projection.weight"
PROJECTION_TEACHER = "projection_teacher"
# Weights that an architecture publishes, see `Architecture.published_weights`.
PUBLISHED = ("imagenet", "imagenet-v2")


def embedded_students() -> tuple[str, ...]:
    """Registered students whose initial weights are shipped with the package."""
    return tuple(name for name in STUDENTS if _embedded_file(name).is_file())


def built_weights(name: str) -> Path:
    """Path at which "embedded" finds the start weights that a user pretrained for a student."""
    return cache_dir() / "weights" / f"{name}.safetensors"


def weights_file(name: str, weights: str) -> Path:
    """The file of "embedded" weights, or that of a path.

    Shipped weights come first: what "embedded" means must not depend on the cache folder.
    Raises WeightsError for a student without embedded weights.
    """
    if weights != "embedded":
        return Path(weights)
    for path in (_embedded_file(name), built_weights(name)):
        if path.is_file():
            return path
    shipped = ", ".join(embedded_students()) or "no student"
    raise WeightsError(
        f"no embedded weights for student '{name}': the package has them for {shipped}; "
        f"'edgedistill pretrain IMAGES --teacher emoji-clip --student {name} -o "
        f'{built_weights(name)}\' makes some; or use weights = "imagenet", "none" or a path'
    )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU; those stored in int8 as float32.

    Raises WeightsError if it cannot be read.
    """
    if not path.is_file():
        raise WeightsError(
            f"no weights at '{path}': give a file of weights, a finished run's folder, or one of "
            f"none, embedded, {', '.join(PUBLISHED)}"
        )
    try:
        return dequantize_tensors(load_file(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is not a readable safetensors file ({one_line(error)})"
        ) from error


def load_into(backbone: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state of the same names and shapes.

    Raises WeightsError that names `origin` and the first tensor that does not fit.
    """
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
            first = f"'{keys[0]}'"
            if keys is misshapen:
                given, own = (list(s[keys[0]].shape) for s in (state, expected))
                first += f", {given} instead of {own}"
            raise WeightsError(
                f"{origin} does not fit the student: {len(keys)} tensor(s) {problem}, "
                f"first {first}{_hint(state, expected)}"
            )
    backbone.load_state_dict(dict(state), strict=False)


def _hint(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Advice for a state with the names that timm gives the same network's tensors."""
    stems = ("conv_stem.weight", "patch_embed.proj.weight")
    if any(name in state and name not in expected for name in stems):
        return '; its names are timm\'s: ask for that network, student.model = "timm/NAME"'
    return ""


@torch.no_grad()
def output_width(backbone: nn.Module, side: int) -> int:
    """Width d of a trunk's features, for images of `side` pixels.

    Raises ValueError for a module that does not give [B, d]; what the module raises passes.
    """
    training = backbone.training
    features = backbone.eval()(torch.zeros(1, 3, side, side))
    backbone.train(training)
    if not isinstance(features, Tensor) or features.ndim != 2:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"must give features [B, d], gives {shape}")
    return features.shape[1]


def one_line(error: BaseException) -> str:
    """An error's text without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _embedded_file(name: str) -> Path:
    return EMBEDDED_FOLDER / f"student-{name}.safetensors"
