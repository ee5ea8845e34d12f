"""The module a device runs, its ONNX form, and the checks between them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from culprits import assert_names, raises
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from edgedistill import callbacks
from edgedistill.data.images import ImageSet
from edgedistill.errors import DivergedError, ExportError
from edgedistill.export.finished import Calibration, FinishedRun
from edgedistill.export.onnx.graph import OPSET, export_graph, stored_threshold, to_bytes
from edgedistill.export.onnx.module import Deployed
from edgedistill.export.session import ModelOutputs, open_session, run_model
from edgedistill.export.verify import compare_answers, torch_answers, verify
from edgedistill.methods import METHODS
from edgedistill.methods.heads import LinearHead, ProjectionHead
from edgedistill.methods.text_bank import TextBank
from edgedistill.openset.head import OpenSetHead
from edgedistill.recipe.load import resolve
from edgedistill.registries import SCORES
from edgedistill.runtime.contract import CHECKSUM_KEY, LOWEST, UNKNOWN_LABEL
from edgedistill.students import Student

SIZE, CLASSES, WIDTH = 32, 5, 16


class Gate(nn.Module):
    """Squeeze and excitation, as MobileNetV3 has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * torch.nn.functional.hardsigmoid(self.fc(self.avgpool(x)))
        return gated


def tiny_student(head: nn.Module, seed: int = 0) -> Student:
    """A small network of every kind of layer the real students have."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        Gate(8),
        nn.Conv2d(8, WIDTH, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    for module in backbone:
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return Student(backbone, head).eval().requires_grad_(False)


def bank(pool: Any = "best") -> TextBank:
    generator = torch.Generator().manual_seed(1)
    names = torch.nn.functional.normalize(torch.randn(9, 6, generator=generator), dim=1)
    owner = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 4])
    pooled = torch.nn.functional.normalize(names[[0, 2, 3, 6, 7]], dim=1)
    others = torch.nn.functional.normalize(torch.randn(20, 6, generator=generator), dim=1)
    return TextBank(names, owner, pooled, pool, 10.0, vocabulary=others)


def run_of(score: str, threshold: float, pool: Any = "best") -> FinishedRun:
    """A finished run without a folder, of a tiny student."""
    name = "scmd" if SCORES[score].needs_texts else "erm"
    torch.manual_seed(2)
    head = ProjectionHead(WIDTH, CLASSES, 6) if name == "scmd" else LinearHead(WIDTH, CLASSES)
    kind = METHODS[name]
    method = kind(kind.Hyper(), text=bank(pool))
    recipe = resolve({"data": {"target": "x"}, "method": {"name": name}})
    calibration = Calibration(score, threshold, 0.95, 100)
    classes = tuple("abcde")
    # Answers far enough apart to tell whether they are right.
    head.classifier.weight.data *= 10
    student = tiny_student(head)
    openset = OpenSetHead.with_texts(
        score, bank(pool), mean=student.mean, std=student.std, threshold=threshold
    )
    return FinishedRun(
        Path(), recipe, "0" * 64, classes, student, openset, method, calibration, metrics={}
    )


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Large blocks of colour, unlike each other: uint8 [count, SIZE, SIZE, 3]."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return blocks.repeat(SIZE // 2, axis=1).repeat(SIZE // 2, axis=2)


def model_of(run: FinishedRun) -> bytes:
    module = Deployed(run.student, run.openset)
    model = export_graph(module, SIZE, CLASSES, run.calibration.threshold)
    return to_bytes(model, {"b": "2", "a": "é"})


@pytest.fixture(scope="module")
def exported() -> tuple[FinishedRun, bytes]:
    run = run_of("max_logit", 0.1)
    return run, model_of(run)


@pytest.mark.parametrize(
    ("score", "pool"), [*((s, "best") for s in SCORES), ("max_cosine", "mean")]
)
def test_the_module_gives_the_scores_of_the_evaluation(score: str, pool: str) -> None:
    run, pixels = run_of(score, 0.0, pool), pictures(16)
    module = Deployed(run.student, run.openset)
    threshold = float(np.median(torch_answers(run, ImageSet.from_array(pixels), 0.0).score))
    expected = torch_answers(run, ImageSet.from_array(pixels), threshold)
    label, module_scores, probabilities = module(torch.from_numpy(pixels), torch.tensor(threshold))
    assert (label.dtype, module_scores.dtype, probabilities.dtype) == (
        torch.int64,
        torch.float32,
        torch.float32,
    )
    got = ModelOutputs(label.numpy(), module_scores.numpy(), probabilities.numpy())
    result = compare_answers(expected, got, threshold)
    assert result.probability < 1e-6 and result.score < 1e-5
    assert result.clear_but_other == 0 and result.clear >= 14
    assert 0 < (got.label == UNKNOWN_LABEL).sum() < 16


@pytest.mark.parametrize("score", SCORES)
def test_the_file_is_the_student(score: str) -> None:
    run = run_of(score, 0.2)
    result = verify(model_of(run), run, ImageSet.from_array(pictures(70)), stored_threshold(0.2))
    assert result.images == 70
    assert result.probability <= 1e-5 and result.clear_but_other == 0


def test_the_file_keeps_the_contract(exported: tuple[FinishedRun, bytes]) -> None:
    model = onnx.load_from_string(exported[1])
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    metadata = {p.key: p.value for p in model.metadata_props}
    assert metadata == {"a": "é", "b": "2", CHECKSUM_KEY: metadata[CHECKSUM_KEY]}
    kinds = {
        v.name: (v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in dims(v)])
        for v in (*model.graph.input, *model.graph.output)
    }
    types = onnx.TensorProto
    assert kinds == {
        "image": (types.UINT8, ["N", SIZE, SIZE, 3]),
        "threshold": (types.FLOAT, []),
        "label": (types.INT64, ["N"]),
        "score": (types.FLOAT, ["N"]),
        "probabilities": (types.FLOAT, ["N", CLASSES]),
    }
    assert not [t for t in model.graph.initializer if t.external_data]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) and all(names)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    # Neither a path nor a source line of the machine that exported.
    assert ".py" not in str(model) and "/" not in str(model)


def dims(value: onnx.ValueInfoProto) -> Any:
    return value.type.tensor_type.shape.dim


def test_batch_norm_and_the_scale_of_the_input_are_folded(
    exported: tuple[FinishedRun, bytes],
) -> None:
    kinds = [node.op_type for node in onnx.load_from_string(exported[1]).graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("GlobalAveragePool") == 2 and "ReduceMean" not in kinds
    assert kinds[:4] == ["Transpose", "Cast", "Sub", "Conv"]
    assert not {"Gather", "Range", "Shape", "Identity"} & set(kinds)


def test_the_same_student_gives_the_same_bytes(exported: tuple[FinishedRun, bytes]) -> None:
    run, model = exported
    assert model_of(run) == model
    other = tiny_student(run.student.head, seed=5)
    assert model_of(dataclasses.replace(run, student=other)) != model


def test_a_threshold_moves_the_answers_without_another_file(
    exported: tuple[FinishedRun, bytes],
) -> None:
    session, pixels = open_session(exported[1]), pictures(20)
    by_default = run_model(session, pixels)
    middle = float(np.median(by_default.score))
    moved = run_model(session, pixels, middle)
    assert ((moved.label == UNKNOWN_LABEL) == (moved.score < np.float32(middle))).all()
    known = moved.label != UNKNOWN_LABEL
    assert (moved.label[known] == moved.probabilities.argmax(axis=1)[known]).all()
    np.testing.assert_array_equal(moved.score, by_default.score)


def test_nothing_rejected_is_the_lowest_finite_threshold() -> None:
    model = onnx.load_from_string(model_of(run_of("max_logit", -math.inf)))
    stored = next(t for t in model.graph.initializer if t.name == "threshold")
    assert onnx.numpy_helper.to_array(stored) == np.float32(LOWEST)
    assert np.isfinite(onnx.numpy_helper.to_array(stored))


@given(st.floats(allow_nan=False, width=64, max_value=3e38))
def test_a_stored_threshold_is_float32_and_never_above(value: float) -> None:
    stored = stored_threshold(value)
    assert float(np.float32(stored)) == stored
    assert stored <= max(value, LOWEST)
    assert stored == LOWEST or value - stored <= max(abs(value) * 1e-6, 1e-44)


def test_another_student_is_refused_with_the_numbers(exported: tuple[FinishedRun, bytes]) -> None:
    run, model = exported
    other = dataclasses.replace(run, student=tiny_student(run.student.head, seed=9))
    with raises(ExportError, "8 images", "probabilities", "scores"):
        verify(model, other, ImageSet.from_array(pictures(8)), 0.1)


class Warnings(callbacks.Callback):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_warning(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.parametrize(("on_the_threshold", "warned"), [(2, False), (4, False), (5, True)])
def test_a_comparison_of_few_labels_says_so(on_the_threshold: int, warned: bool) -> None:
    """Of 8 images, those whose score is the threshold may be answered either way."""
    pixels = pictures(8)
    pixels[:on_the_threshold] = pixels[0]
    answers = torch_answers(run_of("max_logit", 0.0), ImageSet.from_array(pixels), 0.0)
    threshold = stored_threshold(float(answers.score[0]))
    assert (abs(answers.score - threshold) < 1e-3).sum() == on_the_threshold
    run, warnings = run_of("max_logit", threshold), Warnings()
    with callbacks.reporting([warnings]):
        result = verify(model_of(run), run, ImageSet.from_array(pixels), threshold)
    assert (result.images, result.clear) == (8, 8 - on_the_threshold)
    assert len(warnings.lines) == warned
    for line in warnings.lines:
        assert_names(line, 8 - on_the_threshold, 8)


def test_a_student_that_is_not_finite_is_refused(exported: tuple[FinishedRun, bytes]) -> None:
    run, model = exported
    broken = tiny_student(run.student.head)
    broken.backbone[7].weight[0, 0] = math.nan  # type: ignore[index]
    with raises(DivergedError, "2 images"):
        verify(
            model, dataclasses.replace(run, student=broken), ImageSet.from_array(pictures(2)), 0.1
        )


def test_a_clear_label_has_margins_to_the_next_class_and_the_threshold() -> None:
    probabilities = np.array([[0.6, 0.4], [0.50001, 0.49999], [0.9, 0.1], [0.5, 0.5]])
    score = np.array([1.0, 1.0, 0.50001, 0.2])
    expected = ModelOutputs(np.array([0, 0, 0, UNKNOWN_LABEL]), score, probabilities)
    compared = ModelOutputs(np.array([0, 1, UNKNOWN_LABEL, UNKNOWN_LABEL]), score, probabilities)
    result = compare_answers(expected, compared, 0.5)
    assert (result.same_label, result.clear, result.clear_but_other) == (2, 2, 0)
    swapped = dataclasses.replace(compared, label=np.array([1, 0, 0, 0]))
    assert compare_answers(expected, swapped, 0.5).clear_but_other == 2
