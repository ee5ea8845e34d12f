"""Processes that have only what a device has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# What only training needs; asking for any of it fails, as on a device that has none of it.
ABSENT = (
    "filelock",
    "jinja2",
    "matplotlib",
    "onnx",
    "open_clip",
    "platformdirs",
    "safetensors",
    "scipy",
    "sklearn",
    "timm",
    "tomli_w",
    "torch",
    "torchvision",
)
ON_A_DEVICE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise AssertionError("imports " + name)
sys.meta_path.insert(0, Absent())
"""
COMMAND = """
sys.argv[0] = "edgedistill"
from edgedistill.cli.app import main
main()
"""


@pytest.fixture(scope="session")
def device_environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONWARNINGS": "default"}


@pytest.fixture(scope="session")
def on_device(device_environment: dict[str, str]) -> Callable[..., subprocess.Popen[bytes]]:
    """Start Python code in a process in which what training needs cannot be imported."""

    def start(
        code: str, *args: str | Path, cwd: Path | None = None, absent: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        guard = f"ABSENT = {ABSENT + absent!r}{ON_A_DEVICE}"
        return subprocess.Popen(
            [sys.executable, "-c", guard + code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=device_environment,
        )

    return start


@pytest.fixture(scope="session")
def command(
    on_device: Callable[..., subprocess.Popen[bytes]],
) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `edgedistill ...` in such a process."""
    return lambda *args, **options: on_device(COMMAND, *args, **options)
