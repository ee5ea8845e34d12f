"""Users without a home directory, as the uid of a container often is one."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import NoReturn

import pytest
from culprits import raises

from edgedistill._utils.cache_dir import cache_dir
from edgedistill.data.datasets import load_dataset
from edgedistill.data.published.check import check_benchmark
from edgedistill.data.readers.folder import read_folder
from edgedistill.errors import CacheError, DataError


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry(key: object) -> NoReturn:
        raise KeyError(f"no entry for {key}")

    for name in ("HOME", "XDG_CACHE_HOME", "EDGEDISTILL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.setattr(pwd, "getpwnam", no_entry)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("override", ["", "~/cache", "~nobody-of-this-name/cache"])
def test_the_cache_folder_is_asked_for(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", override)
    with raises(CacheError, "EDGEDISTILL_CACHE"):
        cache_dir()


@pytest.mark.usefixtures("homeless")
def test_a_cache_folder_that_is_given_needs_no_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path


@pytest.mark.usefixtures("homeless")
def test_a_dataset_below_a_home_that_is_not_there_is_no_such_folder() -> None:
    with raises(DataError):
        read_folder("~/pictures")
    with raises(DataError):
        load_dataset("~/pictures")
    with raises(DataError):
        check_benchmark("pacs", "~/pictures")
