"""Running out of memory is one line; every other failure stays what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.errors import EdgeDistillError
from edgedistill.train.device import enough_memory, own_device, to_device

MORE_THAN_THERE_IS = 2**50


def test_torch_out_of_memory_is_one_line() -> None:
    with pytest.raises(EdgeDistillError, match="out of memory; lower"), enough_memory():
        torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


def test_numpy_out_of_memory_is_one_line() -> None:
    with pytest.raises(EdgeDistillError, match="out of memory"), enough_memory():
        np.empty(MORE_THAN_THERE_IS, np.uint8)


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), enough_memory():
        raise RuntimeError("shapes do not match")


def test_arrays_that_cannot_be_written_to_are_copied(recwarn: pytest.WarningsRecorder) -> None:
    array = np.arange(3)
    array.flags.writeable = False
    found = to_device(array, torch.device("cpu"))
    found[0] = 7
    assert array[0] == 0 and not recwarn.list


def test_processes_on_a_cpu_share_it() -> None:
    assert own_device("cpu", 3, 4) == torch.device("cpu")
