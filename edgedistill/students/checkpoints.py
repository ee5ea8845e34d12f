"""Tensors of weight files: safetensors, and torch's own format as training programs save it."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edgedistill.errors import WeightsError
from edgedistill.students.weights import one_line, read_safetensors

# Keys under which training programs put a state dict, an average of the weights before the latest.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
)
# Modules around a network: DistributedDataParallel and averages, torch.compile, Lightning.
_PREFIXES = ("module.", "_orig_mod.", "model.")
# Counter of torch.optim.swa_utils.AveragedModel, beside the weights.
_COUNTER = "n_averaged"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a file by the names of the network that they are of.

    Attributes:
        tensors: on the CPU, without the prefixes of wrapping modules.
        wrapper: the key that they were under, "" where they lie bare.
        metadata: of a safetensors file, else empty.
    """

    tensors: dict[str, Tensor]
    wrapper: str
    metadata: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a safetensors file, or of a file that `torch.save` wrote.

    Only plain tensors are loaded, and no code of the file is run.
    Raises WeightsError for a file that is not there, cannot be read, or holds none.
    """
    if path.suffix == ".safetensors" or not path.is_file():
        tensors = read_safetensors(path)
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
        return Checkpoint(_without_prefixes(tensors), "", metadata)
    content: Any = _torch_file(path)
    wrapper = ""
    while inner := next((w for w in WRAPPERS if _has_tensors(content, w)), ""):
        content, wrapper = content[inner], wrapper or inner
    tensors = (
        {str(k): t for k, t in content.items() if isinstance(t, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise WeightsError(f"'{path}' holds no tensors by name: save a network's state_dict()")
    return Checkpoint(_without_prefixes(tensors), wrapper, {})


def tensor_names(path: Path) -> frozenset[str]:
    """Names of the tensors of a file, as `read_checkpoint` gives them; few bytes of it are read.

    Raises WeightsError as `read_checkpoint` does.
    """
    if path.suffix != ".safetensors":
        return frozenset(read_checkpoint(path).tensors)
    try:
        with safe_open(path, "pt") as file:
            return frozenset(file.keys())
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"'{path}' is not a readable safetensors file ({one_line(error)})"
        ) from error


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which holds code beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())


def _torch_file(path: Path) -> Any:
    if is_torchscript(path):
        raise WeightsError(
            f"'{path}' is a TorchScript archive, which holds code: save its tensors alone, "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    try:
        # torchvision's and timm's training programs save their arguments beside the weights; a
        # namespace has no code of its own.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # torch warns of pickles by other programs, which it reads or refuses.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"'{path}' holds code or no weights, and only plain tensors are loaded: save the "
            "network's state_dict() alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"'{path}' cannot be read ({one_line(error)[:200]})") from error


def _has_tensors(content: Any, wrapper: str) -> bool:
    inner = content.get(wrapper) if isinstance(content, Mapping) else None
    if not isinstance(inner, Mapping):
        return False
    return any(isinstance(t, Tensor) for t in inner.values()) or any(
        _has_tensors(inner, w) for w in WRAPPERS
    )


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    names = tensors.keys() - {_COUNTER}
    for prefix in _PREFIXES:
        if names and all(name.startswith(prefix) for name in names):
            return _without_prefixes(
                {n.removeprefix(prefix): tensors[n] for n in tensors if n in names}
            )
    return tensors
