"""Images of a finished run that its export reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from networks import FEW_NODES

import edgedistill as ed


def test_a_run_is_exported_when_its_unlabelled_target_is_gone(
    tree_of: Callable[..., dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    target = shutil.copytree(shapes / "sea" / "star", tmp_path / "unlabelled")
    tree = tree_of(data={"target": str(target)}, student=FEW_NODES, method={"name": "erm"})
    run = ed.run(tree, out=tmp_path / "run", callbacks=[])
    assert run.metrics["test_kind"] == "unlabelled"
    shutil.rmtree(target)
    exported = run.export(callbacks=[])
    assert exported.path.is_file()
    assert exported.metrics["target"] is None
