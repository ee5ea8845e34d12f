"""The tiny task of the tests of the loop, for the other tests of training."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from edgedistill.train.task import Task


@pytest.fixture(scope="session")
def tiny_task() -> Callable[..., Task]:
    """`make_task` of test_loop.py."""
    spec = importlib.util.spec_from_file_location("_loop", Path(__file__).with_name("test_loop.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make: Callable[..., Task] = module.make_task
    return make
