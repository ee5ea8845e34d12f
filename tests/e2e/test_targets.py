"""Runs that hold no domain out: held-out images, images without labels, and no test at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from networks import FEW_NODES

from edgedistill.runtime.contract import read_model


class Outcome:
    """A finished run of the tiny recipe with another section [data], and what it printed."""

    def __init__(self, cli: Any, folder: Path, name: str, tree: Mapping[str, Any]) -> None:
        self.recipe = folder / f"{name}.toml"
        self.recipe.write_text(tomli_w.dumps(tree))
        self.result = cli("run", self.recipe, "--runs", folder, "--name", name)
        assert self.result.status == 0, self.result.err
        self.path = folder / name
        self.metrics = json.loads((self.path / "metrics.json").read_text())
        self.report = (self.path / "report.html").read_text()


@pytest.fixture(scope="module")
def run_on(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    folder = tmp_path_factory.mktemp("targets")

    def run(name: str, **data: Any) -> Outcome:
        sections = {"data": {"sources": ["paint", "night"], **data}, "student": FEW_NODES}
        tree = tree_of(method={"name": "erm"}, **sections)
        if "target" not in data:
            del tree["data"]["target"]
        return Outcome(cli, folder, name, tree)

    return run


@pytest.fixture(scope="module")
def held_out(run_on: Callable[..., Outcome]) -> Outcome:
    return run_on("held", unknown=["star"])


@pytest.fixture(scope="module")
def untested(run_on: Callable[..., Outcome]) -> Outcome:
    return run_on("untested", unknown=["star"], test_fraction=0.0)


@pytest.fixture(scope="module")
def unlabelled(
    run_on: Callable[..., Outcome], shapes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    folder = tmp_path_factory.mktemp("mail") / "new camera"
    shutil.copytree(shapes / "sea", folder / "deep")
    (folder / "notes.txt").write_text("no image")
    return run_on("unlabelled", unknown=["star"], target=str(folder))


def test_held_out_images_of_the_sources_are_measured_and_called_that(held_out: Outcome) -> None:
    metrics = held_out.metrics
    assert metrics["test_kind"] == "held-out" and metrics["sources"] == ["night", "paint"]
    target = metrics["target"]
    assert target["domain"] is None
    # A fifth of 12 images of four known classes, and all of the unknown one, in two domains.
    assert 4 * 2 <= target["images_known"] <= 4 * 2 * 4 and target["images_unknown"] == 24
    assert 0 <= target["accuracy"] <= 1 and 0 <= target["auroc"] <= 1
    words = "eld-out images of the same domains"
    assert words in held_out.result.out and words in held_out.report
    assert "nseen domain" not in held_out.result.out and "never saw" not in held_out.report
    assert metrics["teacher"]["images_known"] == target["images_known"]


def test_without_unknown_classes_no_h_score_is_shown(run_on: Callable[..., Outcome]) -> None:
    plain = run_on("plain", unknown=[], sources=["paint"])
    assert plain.metrics["target"]["h_score"] is None and plain.metrics["h_score_by_keep"] is None
    words = "eld-out images of the same domain"
    assert words in plain.result.out and words + "s" not in plain.result.out
    assert "H deployed" not in plain.result.out and "H-score" not in plain.report
    assert not (plain.path / "keep.png").exists()


def test_the_h_score_of_other_shares_to_keep_is_recorded(held_out: Outcome) -> None:
    by_keep = held_out.metrics["h_score_by_keep"]
    deployed = next(p for p in by_keep["points"] if p["keep"] == 0.95)
    for key in ("h_score", "known_acceptance", "unknown_rejection"):
        assert deployed[key] == held_out.metrics["target"][key]
    assert by_keep["best"]["h_score"] >= deployed["h_score"]
    assert by_keep["reads"] == "target labels" and (held_out.path / "keep.png").exists()


def test_a_run_that_tests_nothing_invents_nothing(untested: Outcome) -> None:
    metrics = untested.metrics
    assert metrics["test_kind"] == "none"
    assert metrics["target"] is metrics["teacher"] is metrics["h_score_by_keep"] is None
    assert "unlabelled" not in metrics
    assert "tested on   no image" in untested.result.out
    assert "tested on no image" in untested.report
    assert not (untested.path / "answers.png").exists()


def test_images_without_labels_are_answered_and_not_measured(unlabelled: Outcome) -> None:
    metrics = unlabelled.metrics
    assert metrics["test_kind"] == "unlabelled" and metrics["target"] is metrics["teacher"] is None
    facts = metrics["unlabelled"]
    assert facts["domain"] == "new camera" and facts["images"] == 60
    assert 0 <= facts["acceptance"] <= 1 and 0 <= facts["shift"]["auroc"] <= 1
    counts = facts["score_histogram"]
    assert sum(counts["target"]) == 60
    assert sum(counts["source_val"]) == metrics["source_val"]["images_known"]
    assert "60 images without labels in new camera" in unlabelled.result.out
    assert "60 images without labels" in unlabelled.report
    assert "H-score" not in unlabelled.report
    assert (unlabelled.path / "answers.png").exists()
    warned = "look far from the training domains" in unlabelled.result.err
    assert warned == facts["shift"]["far"] == ("look far" in unlabelled.report)
    # What the folder's listing leaves out is said like that of the dataset.
    assert "notes.txt" in unlabelled.result.err and "notes.txt" in unlabelled.report


@pytest.mark.parametrize("kind", ["held_out", "untested", "unlabelled"])
def test_a_run_of_each_kind_is_exported(
    cli: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tested: Outcome = request.getfixturevalue(kind)
    file = tmp_path / "student.onnx"
    # At another size the threshold is calibrated and everything measured again.
    size = () if kind == "unlabelled" else ("--size", "48")
    result = cli("export", tested.path, "--onnx", "-o", file, *size)
    assert result.status == 0, result.err
    target = read_model(file)[1].metrics["target"]
    if kind == "held_out":
        assert (target["domain"], target["images_unknown"]) == (None, 24)
    else:
        assert target is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["held_out", "untested"])
def test_int8_keeps_within_its_budget_without_a_target(
    cli: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tested: Outcome = request.getfixturevalue(kind)
    file = tmp_path / "int8.onnx"
    result = cli("export", tested.path, "--onnx", "--int8", "--max-drop", "1", "-o", file)
    assert result.status == 0, result.err
    # The test's images of unknown classes have no part in the choice of nodes; without a test they
    # are the sources'.
    assert ("no H-score" in result.out) == (kind == "held_out")
    assert (read_model(file)[1].metrics["target"] is None) == (kind == "untested")


def test_runs_of_every_kind_are_compared(
    cli: Any, held_out: Outcome, untested: Outcome, unlabelled: Outcome
) -> None:
    result = cli("compare", held_out.path, untested.path, unlabelled.path)
    assert result.status == 0, result.err
    for kind in ("held-out", "none", "unlabelled"):
        assert f" {kind} " in result.out
