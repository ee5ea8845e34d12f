"""One entry of each registry, from a user's own module: listed, trained, exported and asked."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from culprits import raises
from PIL import Image

import edgedistill as ed
from edgedistill.cli.app import app
from edgedistill.errors import RecipeError, UsageError
from edgedistill.methods import search_space
from edgedistill.registries import DATASETS, EXPORTERS, METHODS, SCORES, STUDENTS

REGISTRIES = (DATASETS, EXPORTERS, METHODS, SCORES, STUDENTS)
SIDE = 32


def load_module() -> ModuleType:
    path = Path(__file__).with_name("own_entries.py")
    spec = importlib.util.spec_from_file_location("own_entries", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own() -> Iterator[str]:
    """The name of the entries while they are registered."""
    name = load_module().NAME
    yield name
    for registry in REGISTRIES:
        if name in list(registry):
            registry.unregister(name)


@pytest.fixture
def tree(own: str, shapes: Path, tree_of: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return tree_of(
        data={"dataset": own, "root": str(shapes)},
        student={"model": own, "size": SIDE},
        method={"name": own, "scale": 2.0},
        openset={"score": own},
    )


def by_hand(file: Path, image: Path) -> tuple[float, float]:
    """Score and threshold, from the matrices that the module's exporter wrote."""
    saved = np.load(file)
    resized = Image.open(image).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = (np.asarray(resized) / 255 - saved["mean"]) / saved["std"]
    half = SIDE // 2
    quarters = pixels.reshape(2, half, 2, half, 3).mean((1, 3))
    hidden = saved["backbone.2.weight"] @ quarters.transpose(2, 0, 1).ravel()
    hidden += saved["backbone.2.bias"]
    logits = saved["head.classifier.weight"] @ hidden + saved["head.classifier.bias"]
    return logits.max() - logits.mean(), float(saved["threshold"])


def test_entries_of_a_module_train_export_and_answer(
    own: str, tree: dict[str, Any], shapes: Path, tmp_path: Path
) -> None:
    run = ed.run(tree, out=tmp_path / "run")
    assert run.metrics["target"]["images_known"] > 0
    own_file = run.export(format=own)
    assert own_file.path == tmp_path / "run" / "student.npz"
    classifier = ed.Classifier(run.export(tmp_path / "student.onnx").path)
    assert (classifier.info.student, classifier.info.method) == (own, own)
    for name in ("cross", "star"):
        image = shapes / "sea" / name / "00.png"
        score, threshold = by_hand(own_file.path, image)
        answer = classifier.predict(image)
        assert answer.score == pytest.approx(score, abs=1e-4)
        assert answer.threshold == pytest.approx(threshold, abs=1e-6)
        assert answer.known == (answer.score >= answer.threshold)


def test_the_command_exports_in_a_registered_format(
    own: str, tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ed.run(tree, out=tmp_path / "run")
    file = tmp_path / "a.npz"
    arguments = ["export", str(tmp_path / "run"), "--format", own, "-o", str(file), "--json"]
    app(arguments, standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "bytes": file.stat().st_size}


def test_entries_are_listed_and_described(own: str) -> None:
    for registry in REGISTRIES:
        assert own in list(registry)
        assert len(registry.summary(own)) > 10
    assert own in ed.list_methods() and own in ed.list_students() and own in ed.list_datasets()
    assert own in ed.list_scores() and own in ed.list_exporters()
    assert search_space(METHODS[own].Hyper)["scale"].high == 10


def test_hyper_parameters_are_checked_as_a_built_in_method_s(tree: dict[str, Any]) -> None:
    tree["method"]["scale"] = -1.0
    with raises(RecipeError, "method.scale"):
        ed.run(tree)


def test_a_precision_that_the_exporter_lacks(
    own: str, tree: dict[str, Any], tmp_path: Path
) -> None:
    run = ed.run(tree, out=tmp_path / "run")
    with raises(UsageError, "int8"):
        run.export(format=own, precision="int8")
    with raises(UsageError, "own_format", "onnx"):
        run.export(format="own_format")


def test_a_run_without_its_module_says_what_is_not_registered(
    own: str, tree: dict[str, Any], tmp_path: Path
) -> None:
    run = ed.run(tree, out=tmp_path / "run")
    METHODS.unregister(own)
    with raises(RecipeError, "method.name", own):
        run.export()
