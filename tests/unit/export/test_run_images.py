"""Images of a finished run that its export reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from culprits import assert_names
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


class Notes(ed.Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_note(self, message: str) -> None:
        self.lines.append(message)


def test_a_file_that_would_decide_otherwise_is_calibrated_on_its_own_scores(
    tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    tree = tree_of(student=FEW_NODES, method={"name": "erm"})
    run = ed.run(tree, out=tmp_path / "run", callbacks=[])
    notes = Notes()
    as_trained = run.export(tmp_path / "a.onnx", callbacks=[notes])
    assert not [line for line in notes.lines if "calibrat" in line]
    stated = as_trained.metrics["source_val"]["known_acceptance"]
    # Stands for a runtime that answers otherwise than torch did.
    path = tmp_path / "run" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["source_val"]["known_acceptance"] = 0.125
    path.write_text(json.dumps(metrics))
    own = ed.load_run(tmp_path / "run").export(tmp_path / "b.onnx", callbacks=[notes])
    (note,) = [line for line in notes.lines if "calibrat" in line]
    assert_names(note, "12.5", f"{100 * stated:.1f}", own.calibration.images)
    assert own.metrics["source_val"]["known_acceptance"] >= 0.95 or own.calibration.images < 19
    assert own.metrics["source_val"]["known_acceptance"] != 0.125
    assert ed.Classifier(own.path).info.metrics["source_val"] == own.metrics["source_val"]
