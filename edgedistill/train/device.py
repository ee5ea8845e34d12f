"""Devices, precision and determinism of a run."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgedistill.callbacks import GpuUse
from edgedistill.errors import RecipeError, TrainingError
from edgedistill.students import architecture


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is the GPU when there is one, else the CPU.

    Raises RecipeError for a name that is no device, TrainingError for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RecipeError(
            f"device: {name!r} is no device; use auto, cpu, cuda, cuda:N or mps"
        ) from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise TrainingError(f"device: {name!r} is not available here; use auto or cpu")
    return device


def own_device(name: str, number: int, processes: int) -> torch.device:
    """The device of one of several processes on this machine: with CUDA, a GPU for each.

    Raises TrainingError for what is not there.
    """
    device = resolve_device(name)
    if processes == 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise TrainingError(
            f"device: {name!r} is one GPU, and there are {processes} processes; use cuda"
        )
    if number >= torch.cuda.device_count():
        raise TrainingError(
            f"device: process {number} of this machine has no GPU, there are "
            f"{torch.cuda.device_count()}; start fewer processes"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def gpu_use(device: torch.device) -> GpuUse | None:
    """Memory and, where `nvidia-ml-py` is installed, utilization of a GPU; None for others."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    try:
        busy = torch.cuda.utilization(device) / 100
    except (ModuleNotFoundError, RuntimeError):
        # Without the package, or in a container that hides the driver's statistics.
        busy = None
    return GpuUse(total - free, total, busy)


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """An array on the device; the host does not wait for it to get there."""
    # A copy where it may not be written to, as in mapped files: torch warns of such arrays.
    tensor = torch.from_numpy(array if array.flags.writeable else np.array(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn errors of too little memory, the device's or the machine's, into a TrainingError.

    torch raises plain RuntimeErrors for the machine's memory, which only their text tells apart.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # Torch's CPU allocator raises plain RuntimeErrors; only their text says what they are.
        text = str(error)
        lacking = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not lacking and "not enough memory" not in text and "allocate memory" not in text:
            raise
        raise TrainingError(
            "out of memory; lower train.batch_per_domain, or teacher.batch while views are cached "
            "(the cache then begins anew), or close other programs"
        ) from error


def autocast_dtype(precision: str, device: torch.device, student: str) -> torch.dtype | None:
    """The autocast type, None for plain float32.

    'auto' depends on the device and on what the registry of students says, never on a timing:
    the same machine gives the same bits every time.
    """
    if precision != "auto":
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    pays = device.type == "cpu" and architecture(student).cpu_bf16
    return torch.bfloat16 if pays and cpu_has_bf16() else None


def precision_warning(dtype: torch.dtype | None, device: torch.device) -> str | None:
    """One line about a precision that this device only emulates, None where there is none."""
    if device.type == "cpu" and dtype == torch.float16:
        return (
            "train.precision: most CPUs emulate fp16, and a step takes many times as long as in "
            "fp32; use a GPU"
        )
    return None


def cpu_has_bf16() -> bool:
    """Whether the CPU itself multiplies bfloat16 numbers; else they are slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager:
    """The autocast context of a type from `autocast_dtype`."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def make_deterministic() -> None:
    """Same recipe, same machine, same seed: same bits on the CPU."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def torch_environment() -> dict[str, Any]:
    """Torch's version, threads and devices, for environment.json."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
