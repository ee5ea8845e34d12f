"""What a training step on a CPU takes for a network's convolutions instead of torch's own."""

from torch import nn

from edgedistill.train.cpu_kernels.depthwise import use_fast_depthwise
from edgedistill.train.cpu_kernels.winograd import use_winograd


def use_fast_convolutions(module: nn.Module) -> None:
    """Give a network's convolutions the faster training step, in place.

    Weights, their names and what the network computes in `eval()` stay as they are; on devices
    other than a CPU, and in other dtypes than float32, all of it stays.
    """
    use_fast_depthwise(module)
    use_winograd(module)
