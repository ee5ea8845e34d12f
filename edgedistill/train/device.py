"""Where to compute, and in what precision."""

import contextlib
from typing import Any

import torch

from edgedistill.errors import EdgeDistillError


def resolve_device(name: str) -> torch.device:
    """'auto' is the GPU when there is one. Raises EdgeDistillError for what is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EdgeDistillError(
            f"device: {name!r} is no device; use auto, cpu, cuda, cuda:N or mps"
        ) from None
    found = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not found.get(device.type, False):
        raise EdgeDistillError(f"device: {name!r} is not available here; use auto or cpu")
    return device


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The autocast type, None for plain float32."""
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager:
    """The autocast context of a type from `autocast_dtype`."""
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def make_deterministic() -> None:
    """Same recipe, same machine, same seed: same bits on the CPU."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def describe() -> dict[str, Any]:
    """Torch's version, threads and devices, for environment.json."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
