"""Running out of memory is one line; every other failure stays what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from culprits import raises

from edgedistill.errors import TrainingError
from edgedistill.train import device as train_device
from edgedistill.train.device import autocast_dtype, enough_memory, own_device, to_device

MORE_THAN_THERE_IS = 2**50


def test_torch_out_of_memory_is_one_line() -> None:
    with (
        raises(TrainingError, "memory", "train.batch_per_domain", "teacher.batch"),
        enough_memory(),
    ):
        torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


def test_numpy_out_of_memory_is_one_line() -> None:
    with (
        raises(TrainingError, "memory", "train.batch_per_domain", "teacher.batch"),
        enough_memory(),
    ):
        np.empty(MORE_THAN_THERE_IS, np.uint8)


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), enough_memory():
        raise RuntimeError("shapes do not match")


def test_arrays_that_cannot_be_written_to_are_copied(recwarn: pytest.WarningsRecorder) -> None:
    array = np.arange(3)
    array.flags.writeable = False
    copied = to_device(array, torch.device("cpu"))
    copied[0] = 7
    assert array[0] == 0 and not recwarn.list


def test_processes_on_a_cpu_share_it() -> None:
    assert own_device("cpu", 3, 4) == torch.device("cpu")


@pytest.mark.parametrize(
    ("student", "has_bf16", "expected"),
    [
        ("resnet18", True, torch.bfloat16),
        ("resnet18", False, None),
        # Measured to be slower in it.
        ("mobilenet_v3_small", True, None),
    ],
)
def test_half_precision_on_a_cpu_only_where_it_was_measured_to_be_faster(
    student: str, has_bf16: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_device, "cpu_has_bf16", lambda: has_bf16)
    cpu = torch.device("cpu")
    assert autocast_dtype("auto", cpu, student) is expected
    # What a recipe asks for is done whatever the table says.
    assert autocast_dtype("bf16", cpu, student) is torch.bfloat16
    assert autocast_dtype("fp32", cpu, student) is None


def test_only_fp16_on_a_cpu_is_warned_about() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert "fp16" in (train_device.precision_warning(torch.float16, cpu) or "")
    for dtype, device in ((None, cpu), (torch.bfloat16, cpu), (torch.float16, gpu)):
        assert train_device.precision_warning(dtype, device) is None


def test_half_precision_on_a_gpu_is_bfloat16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for has_bf16, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda dtype=has_bf16: dtype)
        dtype = autocast_dtype("auto", torch.device("cuda"), "mobilenet_v3_small")
        assert dtype is expected


def test_what_the_cpu_can_do_is_known() -> None:
    assert train_device.cpu_has_bf16() in (True, False)
