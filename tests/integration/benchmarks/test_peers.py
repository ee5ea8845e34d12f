"""Students beside their peers: same answers from every contender, shares of the teacher, tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from culprits import raises
from networks import FEW_NODES

from benchmarks.peers import contenders, worth
from benchmarks.peers import peers_tables as tables
from benchmarks.peers.random_student import RandomStudent, make_student
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.errors import EdgeDistillError
from edgedistill.export.session import ModelOutputs
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import build_text_bank
from edgedistill.teacher.zero_shot import zero_shot

INTERVAL = {"value": 0.96, "low": 0.92, "high": 1.0}
RATIO = {"value": 0.2, "low": 0.19, "high": 0.21, "verdict": "faster"}
TIMING = {"p50_ms": 2.0, "p95_ms": None}


@pytest.fixture(scope="module")
def student() -> RandomStudent:
    return make_student(FEW_NODES["model"], 32)


def test_every_way_to_run_a_student_gives_the_same_answers(
    student: RandomStudent, tmp_path: Path
) -> None:
    ours = contenders.exported("ours", student.fp32, 32, 1)
    expected = ours.answers(student.images)
    assert ours.bytes == len(student.fp32) and len(student.int8) < len(student.fp32)
    for other in (
        contenders.eager("eager", student.module, 32, 1),
        contenders.plain_export("plain", student.module, 32, tmp_path, 1),
    ):
        answers = other.answers(student.images)
        np.testing.assert_allclose(answers.probabilities, expected.probabilities, atol=1e-4)
        np.testing.assert_allclose(answers.score, expected.score, rtol=1e-4)
        assert (answers.label == expected.label).all()


@pytest.mark.parametrize("pool", ["mean", "best"])
def test_the_exported_teacher_is_the_zero_shot_teacher(
    pool: Any, tiny_clip: Path, tmp_path: Path
) -> None:
    teacher = load_teacher(f"local-dir:{tiny_clip}", "", torch.device("cpu"))
    names = [["a dog", "a hound"], ["a cat"], ["a", "b", "c"]]
    text = build_text_bank(teacher.encode_texts, names, ["{}"], pool, teacher.logit_scale)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    expected = zero_shot(
        teacher, text, LabelledImages(ImageSet.from_array(pixels), np.zeros(3, np.int64))
    )
    module = contenders.ZeroShot(teacher, text).eval()
    with torch.no_grad():
        score, probabilities = module(torch.from_numpy(pixels))
    np.testing.assert_allclose(score, expected.scores, atol=1e-5)
    assert (probabilities.argmax(dim=1).numpy() == expected.predictions).all()
    if pool == "best":
        contender = contenders.zero_shot_teacher("teacher", teacher, text, tmp_path, 1)
        answers = contender.answers(pixels)
        np.testing.assert_allclose(answers.score, score, atol=1e-5)
        np.testing.assert_allclose(answers.probabilities, probabilities, atol=1e-4)
        assert contender.bytes == sum(part.stat().st_size for part in tmp_path.iterdir())


def test_every_loading_of_a_module_is_a_copy_of_its_own(
    student: RandomStudent, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def compile_nothing(module: Any, **options: Any) -> Any:
        seen.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_nothing)
    compiled = contenders.compiled("compiled", student.module, 32, 1)
    first, second = compiled.load(), compiled.load()
    # Once to see that it can be compiled, then for every loading.
    assert len(seen) == len({id(module) for module in seen}) == 3
    assert all(module is not student.module for module in seen)
    weights = [next(module.parameters()).data_ptr() for module in (*seen, student.module)]
    assert len(set(weights)) == 4
    expected = contenders.eager("eager", student.module, 32, 1).load()(student.images[:1])
    for answer in (first, second):
        for mine, theirs in zip(answer(student.images[:1]), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_openvino_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with raises(EdgeDistillError, "pip install openvino"):
        contenders.openvino("OpenVINO", b"", 32, 1)


def answers_of(right: int, score: float) -> Callable[[int], ModelOutputs]:
    """`right` of 10 known images are answered right; unknown ones score 0."""

    def make(unknown: int) -> ModelOutputs:
        probabilities = np.full((10 + unknown, 2), 0.5)
        probabilities[:right, 0] = 0.9
        probabilities[right:, 1] = 0.9
        scores = np.array([score + i / 100 for i in range(10)] + [0.0] * unknown)
        return ModelOutputs(probabilities.argmax(axis=1), scores, probabilities)

    return make


def test_shares_of_the_teacher_are_of_the_same_images_and_rule() -> None:
    labels = np.array([0] * 10 + [-1] * 5)
    figures, scored = {}, {}
    for name, answers in (("student", answers_of(4, 1.0)), ("teacher", answers_of(8, 5.0))):
        figures[name], scored[name] = worth.evaluate(answers(0), answers(5), labels, 0.9)
    # Nine of ten known images are kept by both, each at a threshold of its own scale.
    assert figures["student"]["known_acceptance"] == figures["teacher"]["known_acceptance"] == 1
    assert figures["student"]["threshold"] == pytest.approx(1.0, abs=1e-5)
    shares = worth.shares_of(scored, "teacher", figures)
    assert shares["student"]["accuracy"]["value"] == pytest.approx(0.5)
    assert shares["teacher"]["h_score"] == {"value": 1, "low": 1, "high": 1}
    low, high = (shares["student"]["h_score"][key] for key in ("low", "high"))
    assert low is not None and high is not None and low < 2 * 0.4 / 1.4 / (2 * 0.8 / 1.8) < high
    assert worth.shares_of(scored, "teacher", figures) == shares


def test_the_peers_table_answers_the_question() -> None:
    rates = dict.fromkeys(("accuracy", "h_score", "auroc", "known_acceptance"), 0.5)
    one = {**rates, "unknown_rejection": None, "size": 64, "timing": TIMING}
    one |= {"over_teacher": {"h_score": INTERVAL, "auroc": INTERVAL}, "time_over_teacher": RATIO}
    teacher = {**one, "name": "teacher, zero-shot", "bytes": 10_000_000}
    mine = {**one, "name": "EdgeDistill fp32", "bytes": 4_000_000}
    unranked = {**one, "name": "PyTorch", "bytes": None}
    unranked["time_over_teacher"] = {**RATIO, "verdict": "not ranked"}
    run = {"run": "some-run", "student": "resnet18", "weights": "none", "method": "scipd"}
    run |= {"target": "line", "teacher": "emoji-clip", "threads": 1, "rounds": 5}
    run |= {"noise": {"noise": 0.03}, "skipped": ["OpenVINO is not installed"]}
    record = {"machine": {"cpu": "Some CPU"}, "versions": {"torch": "2.9", "openvino": None}}
    text = tables.peers_document(
        {**record, "runs": [{**run, "contenders": [mine, unranked, teacher]}]}
    )
    assert "Measured on Some CPU, torch 2.9." in text
    assert "keeps 96 % (92 to 100) of its deployed H-score" in text
    assert "at 20 % of its time and 40 % of its bytes" in text
    assert "| PyTorch, 64 px | 50.0 | 50.0 | 50.0 | 50.0 | – | – | 2.00 | – | (0.20) |" in text
    assert "Left out: OpenVINO is not installed." in text
    assert tables.peers_document({**record, "runs": []}) == "Not measured yet."


def test_the_latency_table_has_a_row_per_student_size_and_threads() -> None:
    def entry(engine: str, precision: str, threads: int, p50: float) -> dict[str, Any]:
        place = {"student": "resnet18", "size": 224, "threads": threads}
        ratio = {"value": p50 / 8, "verdict": "faster"}
        times = {"timing": {"p50_ms": p50}, "time_over_fp32": ratio, "noise": 0.04}
        return {**place, "engine": engine, "precision": precision, **times}

    entries = [
        entry("onnxruntime", "fp32", 1, 8.0),
        entry("onnxruntime", "int8", 1, 4.0),
        entry("PyTorch", "fp32", 1, 9.0),
        entry("onnxruntime", "fp32", 2, 5.0),
    ]
    machine = {"cpu": "Some CPU", "flags": ["avx2"], "load_before": 0.1}
    record = {"machine": machine, "versions": {"torch": "2.9"}, "rounds": 5, "skipped": []}
    text = tables.latency_document({**record, "entries": entries})
    assert "| student | px | threads | onnxruntime fp32 | onnxruntime int8 | PyTorch |" in text
    assert "| resnet18 | 224 | 1 | 8.00 | 4.00 | 9.00 | 0.50 |" in text
    assert "| resnet18 | 224 | 2 | 5.00 | – | – | – |" in text
    assert "within 4 %" in text
