"""Use on a device that has NumPy, onnxruntime, Pillow and the package itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[bytes]"]
ROOT = Path(__file__).parents[3]
CLASSIFY = ROOT / "tests" / "programs" / "classify.py"
COMMAND_LINE = ("typer", "rich", "click", "pydantic")


def test_the_runtime_needs_three_packages(on_device: Start, model: Path, photos: Path) -> None:
    images = [photos / "red.png", photos / "dark.bmp"]
    process = on_device(CLASSIFY, model, *images, forbidden=COMMAND_LINE)
    out, err = process.communicate()
    labels, modules = out.decode().splitlines()
    assert (labels, err) == ("red None", b"")
    assert modules.split() == ["edgedistill", "edgedistill.errors"]


@pytest.mark.slow
def test_an_installation_without_extras(model: Path, photos: Path, tmp_path: Path) -> None:
    """A real environment with the package and what it requires, and nothing of ours on its path."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copytree(
        ROOT / "edgedistill", source / "edgedistill", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *args], capture_output=True, text=True, cwd=tmp_path, env=environment
        )

    reachable = run("-m", "pip", "download", "-q", "--no-deps", "-d", "probe", "setuptools>=77")
    if reachable.returncode:
        pytest.skip("no package index to install from")
    installed = run("-m", "pip", "install", "-q", source)
    assert installed.returncode == 0, installed.stderr
    absent = run(ROOT / "tests" / "programs" / "list_modules.py", "torch")
    assert "No module named 'torch'" in absent.stderr
    shown = run("-m", "edgedistill", "--help")
    assert shown.returncode == 0 and "predict" in shown.stdout
    answered = run("-m", "edgedistill", "predict", model, photos / "red.png", "--json")
    assert answered.returncode == 0, answered.stderr
    assert '"label": "red"' in answered.stdout
    refused = run("-m", "edgedistill", "run", "recipe.toml")
    assert refused.returncode == 2
    assert 'pip install "edgedistill[train]"' in refused.stderr
