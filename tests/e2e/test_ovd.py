"""Open-vocabulary distillation from recipe to answers: unlabelled images, known_mass, WiSE-FT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from networks import FEW_NODES
from safetensors.torch import load_file

from edgedistill.runtime.contract import read_model

WORDS = "# other things\nhouse\ntree\ncar\ncircle\nboat\nriver\ncloud\ndog\nbird\nchair\nlamp\n"
STEPS = 4


@pytest.fixture(scope="module")
def run(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """The folder of a finished run, and what the command said."""
    folder = tmp_path_factory.mktemp("ovd")
    (folder / "words.txt").write_text(WORDS)
    tree = tree_of(
        student=FEW_NODES,
        method={"name": "ovd", "reliability": "class"},
        prompts={"vocabulary": "words.txt"},
        openset={"score": "known_mass", "keep": 0.8},
        train={
            "steps": STEPS,
            "batch_per_domain": 4,
            "eval_every": 2,
            "optimizer": "adamw",
            "lr": 1e-3,
            "wise_ft": "validation",
        },
    )
    (folder / "tiny.toml").write_text(tomli_w.dumps(tree))
    result = cli("run", folder / "tiny.toml", "--runs", folder, "--name", "tiny")
    assert result.status == 0, result.err
    return folder / "tiny", result


def metrics_of(folder: Path) -> Any:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_it_says_weight_words_and_share(run: tuple[Path, Any]) -> None:
    _, result = run
    said = result.out + result.err
    for culprit in ("weight of the teacher", "words.txt", "'circle'", "wise_ft"):
        assert culprit in said


def test_metrics_have_the_reliability_and_the_share(run: tuple[Path, Any]) -> None:
    metrics = metrics_of(run[0])
    check, reliability = metrics["teacher_check"], metrics["teacher_reliability"]
    assert sum(check["images_by_class"]) == check["images"]
    assert sum(check["right_by_class"]) == round(check["accuracy"] * check["images"])
    assert len(reliability["odds_by_class"]) == len(metrics["classes"])
    wise_ft = metrics["wise_ft"]
    validated = {row["share"]: row["value"] for row in wise_ft["validated"]}
    assert validated[wise_ft["share"]] == max(validated.values())
    assert "weight of the teacher" in (run[0] / "report.html").read_text(encoding="utf-8")


def test_the_student_brings_its_vocabulary(run: tuple[Path, Any]) -> None:
    tensors = load_file(run[0] / "student.safetensors")
    # Of eleven words one is a class, one the nearest to a class.
    assert len(tensors["text.vocabulary"]) == 9
    norms = tensors["text.vocabulary"].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_file_answers_as_the_run_without_teacher_or_words(
    run: tuple[Path, Any], cli: Any, shapes: Path, tmp_path: Path, int8: bool
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(run[0], folder)
    (run[0].parent / "words.txt").rename(tmp_path / "words.txt")
    try:
        options = ("--int8", "--max-drop", "100") if int8 else ()
        result = cli("export", folder, *options, "-o", tmp_path / "student.onnx")
    finally:
        (tmp_path / "words.txt").rename(run[0].parent / "words.txt")
    assert result.status == 0, result.err
    assert read_model(tmp_path / "student.onnx")[1].score == "known_mass"
    answers = cli("predict", tmp_path / "student.onnx", shapes / "sea" / "star", "--json")
    assert answers.status == 0, answers.err
    scores = [json.loads(line)["score"] for line in answers.out.splitlines()]
    assert len(scores) == 12 and all(0 <= score <= 1 for score in scores)


def test_other_classes_are_compared_with_the_same_words(
    run: tuple[Path, Any], cli: Any, shapes: Path, tmp_path: Path
) -> None:
    classes, path = tmp_path / "two.toml", tmp_path / "two.onnx"
    classes.write_text('[classes]\nstar = "star"\nboat = "boat"\n')
    result = cli("export", run[0], "--classes", classes, "-o", path)
    assert result.status == 0, result.err
    # Another word is now a class.
    assert "'boat'" in result.out + result.err
    info = read_model(path)[1]
    assert (info.score, info.classes) == ("known_mass", ("star", "boat"))
    assert cli("predict", path, shapes / "sea" / "star").status == 0


def test_a_missing_file_of_words_is_named(run: tuple[Path, Any], cli: Any, tmp_path: Path) -> None:
    recipe = run[0].parent / "tiny.toml"
    result = cli(
        *("run", recipe, "--runs", tmp_path, "--set", "prompts.vocabulary=nowhere.txt"),
    )
    result.assert_refused("prompts.vocabulary", "nowhere.txt")
