"""Replacement of a network's convolutions by those that train faster on a CPU than torch's.

They work around oneDNN, which torch uses on CPUs, and nothing else needs them: a call of
`use_fast_convolutions` less takes them out. `tests/unit/train/cpu_kernels/test_still_needed.py`
(slow) fails with a release of torch that is as fast.
"""

from torch import nn

from edgedistill.train.cpu_kernels.depthwise import use_fast_depthwise
from edgedistill.train.cpu_kernels.winograd import use_winograd


def use_fast_convolutions(module: nn.Module) -> None:
    """Give a network's convolutions the faster training step, in place.

    Weights, their names and the outputs in `eval()` stay as they are. On devices other than a CPU,
    and in other dtypes than float32, nothing changes.
    """
    use_fast_depthwise(module)
    use_winograd(module)
