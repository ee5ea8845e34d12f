"""Checkpoints: tensors and plain numbers in one file that loads with `weights_only=True`."""

import warnings
from pathlib import Path
from typing import Any

import torch

from edgedistill._utils.atomic import replacing
from edgedistill.errors import TrainingError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a kill leaves the previous checkpoint or this one."""
    with replacing(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
        except RuntimeError as error:
            # torch's zip writer covers a full disk with an error of its own.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state, or None when there is none yet.

    Raises TrainingError when the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(type(state).__name__)
    except Exception:  # A damaged file can raise nearly anything in the unpickler.
        raise TrainingError(
            f"{path}: damaged checkpoint; delete it to train this run from the start"
        ) from None
    return state
