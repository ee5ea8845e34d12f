"""The formulas of the distillation methods against values worked out in float64 by other means."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from edgedistill.methods import METHODS, StudentOutput, TeacherOutputs
from edgedistill.methods.functional import (
    contrast,
    correlation_distance,
    distillation,
    non_target_cross_entropy,
    non_target_distillation,
    pairwise_angles,
    relative_distances,
    relative_text_distance,
    target_distillation,
    without_label,
)


def t(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, t(expected), atol=1e-6, rtol=0)


TEACHER = t([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
STUDENT = t([[1.0, 1.0, -1.0], [2.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 2])
# The corners of a right triangle of sides 3, 4 and 5.
TRIANGLE = t([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def test_rows_without_their_label() -> None:
    assert without_label(TEACHER, LABELS).tolist() == [[1.0, 0.0], [0.0, 3.0]]


class TestDecoupled:
    def test_both_terms(self) -> None:
        close(target_distillation(TEACHER, STUDENT, LABELS, 2.0), 0.0308407535)
        close(non_target_distillation(TEACHER, STUDENT, LABELS, 2.0), 1.3674792755)

    def test_together_they_are_classical_distillation(self) -> None:
        """KD is the label's term plus (1 - p_y) times the others', image by image (the paper's
        equation 5)."""
        temperature = 2.0
        for row in range(2):
            one = (TEACHER[row : row + 1], STUDENT[row : row + 1], LABELS[row : row + 1])
            p = torch.softmax(one[0] / temperature, dim=-1)[0, LABELS[row]]
            total = target_distillation(*one, temperature) + (1 - p) * non_target_distillation(
                *one, temperature
            )
            torch.testing.assert_close(total, distillation(one[0], one[1], temperature))

    def test_a_sure_teacher_leaves_them_finite(self) -> None:
        sure = torch.tensor([[100.0, 0.0, -100.0]])
        student = torch.zeros(1, 3)
        label = torch.tensor([0])
        close(target_distillation(sure, student, label, 1.0).double(), math.log(3))
        close(non_target_distillation(sure, student, label, 1.0).double(), math.log(2))


def test_normalised_cross_entropy_among_the_other_classes() -> None:
    close(non_target_cross_entropy(TEACHER, STUDENT, LABELS, 2.0), 3.6432770401)


class TestCorrelation:
    def test_is_pearsons(self) -> None:
        left, right = t([[1.0, 2.0, 4.0], [3.0, 1.0, 0.0]]), t([[2.0, 1.0, 5.0], [0.0, 1.0, 1.0]])
        close(correlation_distance(left, right), 1.0531416566)

    def test_scale_and_offset_do_not_matter(self) -> None:
        close(correlation_distance(TEACHER, 3 * TEACHER + 7), 0.0)
        close(correlation_distance(TEACHER, 7 - 3 * TEACHER), 2.0)

    def test_a_constant_row_correlates_with_nothing(self) -> None:
        close(correlation_distance(t([[1.0, 1.0, 1.0]]), t([[1.0, 2.0, 3.0]])), 1.0)


class TestRelations:
    def test_distances_over_their_mean(self) -> None:
        expected = [[0.0, 0.75, 1.0], [0.75, 0.0, 1.25], [1.0, 1.25, 0.0]]
        close(relative_distances(TRIANGLE), expected)

    def test_angles(self) -> None:
        angles = pairwise_angles(TRIANGLE)
        close(angles[0], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        close(angles[1], [[1.0, 0.0, 0.6], [0.0, 0.0, 0.0], [0.6, 0.0, 1.0]])
        close(angles[2], [[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.0]])

    @pytest.mark.parametrize("relation", [relative_distances, pairwise_angles])
    def test_size_and_place_do_not_matter(self, relation: Callable[[Tensor], Tensor]) -> None:
        torch.testing.assert_close(relation(5 * TRIANGLE + 2), relation(TRIANGLE))

    @pytest.mark.parametrize("relation", [relative_distances, pairwise_angles])
    def test_equal_points_have_finite_gradients(self, relation: Callable[[Tensor], Tensor]) -> None:
        for points in (torch.ones(3, 2), torch.eye(3)[[0, 0, 1]], torch.ones(1, 2)):
            points.requires_grad_()
            (relation(points) - 0.5).square().sum().backward()
            assert points.grad is not None
            assert points.grad.abs().max() < 100


class TestWeights:
    """What is minimised, from the terms that are shown."""

    @pytest.mark.parametrize(
        ("name", "hyper", "weights"),
        [
            (
                "dkd",
                {"alpha": 3.0, "beta": 5.0},
                {"target_distillation": 3.0, "non_target_distillation": 5.0},
            ),
            ("nkd", {"gamma": 3.0}, {"target_distillation": 1.0, "non_target_distillation": 3.0}),
            ("dist", {"beta": 3.0, "gamma": 5.0}, {"inter_class": 3.0, "intra_class": 5.0}),
            ("rkd", {"distance": 3.0, "angle": 5.0}, {"distance": 3.0, "angle": 5.0}),
            ("fitnet", {"weight": 3.0}, {"hint": 3.0}),
            ("crd", {"weight": 3.0}, {"contrast": 3.0}),
            (
                "rise",
                {"classification": 2.0, "distillation": 3.0, "absolute": 4.0, "relative": 5.0},
                {"cross_entropy": 2.0, "distillation": 3.0, "absolute": 4.0, "relative": 5.0},
            ),
        ],
    )
    def test_of_the_terms(
        self, name: str, hyper: dict[str, Any], weights: dict[str, float], make_setting: Any
    ) -> None:
        losses = make_setting(name, **hyper).losses()
        weights = {"cross_entropy": 1.0, **weights}
        assert set(losses) == {"loss", *weights}
        assert all(losses[term] > 0 for term in weights)
        total = sum(weight * losses[term] for term, weight in weights.items())
        torch.testing.assert_close(losses["loss"], total)

    def test_nkd_weighs_the_label_by_the_teachers_share(self, make_texts: Any) -> None:
        kind: Any = METHODS["nkd"]
        # Embeddings that are logits: the texts are the axes.
        texts = make_texts(torch.eye(3), 1.0)
        out = StudentOutput(torch.zeros(2, 1), STUDENT.float(), None)
        teacher = TeacherOutputs(TEACHER.float(), texts)
        losses = kind(kind.Hyper(), text=texts).losses(None, out, LABELS, teacher)
        close(losses["cross_entropy"].double(), 1.4990842210)
        close(losses["target_distillation"].double(), 0.3802064001)


def test_fitnet_regresses_to_the_embedding(make_texts: Any) -> None:
    kind: Any = METHODS["fitnet"]
    texts = make_texts(torch.eye(2))
    method = kind(kind.Hyper(weight=2.0), text=texts)
    head = method.head(2, 2, torch.eye(2))
    out = StudentOutput(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.zeros(2, 2), None)
    image = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    # Half of 0.4 squared and 1.2 squared for the first, which alone has a label; 0 for the second.
    losses = method.losses(head, out, torch.tensor([0, -1]), TeacherOutputs(image, texts))
    close(losses["hint"].detach().double(), 0.4)
    close(losses["loss"].detach().double(), math.log(2) + 0.8)


class TestContrast:
    LOGITS = t([[2.0, 0.0], [1.0, 3.0]])

    def test_rows_and_columns_find_their_own(self) -> None:
        rows = math.log1p(math.exp(-2))
        columns = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-3))) / 2
        close(contrast(self.LOGITS), (rows + columns) / 2)

    @pytest.mark.parametrize("labels", [[0, 1], [0, -1], [-1, -1]])
    def test_images_of_other_classes_and_without_a_label_are_negatives(
        self, labels: list[int]
    ) -> None:
        assert contrast(self.LOGITS, torch.tensor(labels)) == contrast(self.LOGITS)

    def test_images_of_the_same_class_are_none(self) -> None:
        close(contrast(self.LOGITS, torch.tensor([1, 1])), 0.0)

    @pytest.mark.parametrize(
        ("negatives", "expected"), [("other_classes", 0.0), ("other_images", 1)]
    )
    def test_crd_compares_in_a_space_of_its_own(
        self, negatives: str, expected: float, make_texts: Any
    ) -> None:
        """Both maps are the identity, and all cosines are 1: each finds its own by chance."""
        kind: Any = METHODS["crd"]
        texts = make_texts(torch.eye(2))
        method = kind(kind.Hyper(width=2, negatives=negatives), text=texts)
        head = method.head(2, 2)
        with torch.no_grad():
            for layer in (head.student_embedding, head.teacher_embedding):
                layer.weight.copy_(torch.eye(2))
                layer.bias.zero_()
        out = StudentOutput(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), torch.zeros(2, 2), None)
        teacher = TeacherOutputs(torch.tensor([[0.6, 0.8], [0.6, 0.8]]), texts)
        losses = method.losses(head, out, torch.tensor([0, 0]), teacher)
        close(losses["contrast"].detach().double(), expected * math.log(2))
        close(losses["loss"].detach().double(), math.log(2) * (1 + 0.8 * expected))


class TestRISE:
    def test_distance_relative_to_anchors(self) -> None:
        """Softmax of (1, 0) against softmax of (0, 1)."""
        anchors = torch.eye(2, dtype=torch.float64)[None]
        student, text = t([[2.0, 0.0]]), t([[0.0, 1.0]])
        share = math.e / (math.e + 1)
        close(relative_text_distance(student, text, anchors), (2 * share - 1) ** 2)
        close(relative_text_distance(text, text, anchors), 0.0)

    def test_terms(self, make_texts: Any) -> None:
        kind: Any = METHODS["rise"]
        sentences = torch.stack([torch.eye(2), torch.eye(2).flip(0)])
        texts = make_texts(torch.eye(2), 1.0, sentences=sentences)
        method = kind(kind.Hyper(temperature=1.0), text=texts)
        projected = torch.tensor([[0.6, 0.8]])
        out = StudentOutput(torch.zeros(1, 1), torch.zeros(1, 2), projected)
        teacher = TeacherOutputs(torch.tensor([[0.0, 0.0]]), texts)
        losses = method.losses(None, out, torch.tensor([1]), teacher)
        close(losses["cross_entropy"].double(), math.log(2))
        close(losses["distillation"].double(), 0.0)
        close(losses["absolute"].double(), 0.2)
        # The anchors of class 1 are (0, 1) and (1, 0): cosines 0.8 and 0.6, of its text 1 and 0.
        student, own = 1 / (1 + math.exp(-0.2)), math.e / (math.e + 1)
        close(losses["relative"].double(), (student - own) ** 2)
        close(
            losses["loss"].double(),
            0.1 * math.log(2) + 0.5 * 0.2 + 5 * (student - own) ** 2,
        )

    def test_no_rectifier_before_the_class_texts(self, make_texts: Any) -> None:
        kind: Any = METHODS["rise"]
        head = kind(kind.Hyper(), text=make_texts(torch.eye(2))).head(2, 2, torch.eye(2))
        with torch.no_grad():
            head.classifier.bias.zero_()
        assert head(torch.tensor([[-1.0, 2.0]])).logits.tolist() == [[-1.0, 2.0]]

    def test_anchors_become_sentences(self) -> None:
        kind: Any = METHODS["rise"]
        assert kind.sentences(kind.Hyper(anchors=["sketch", "photo"])) == [
            "a sketch of a {}",
            "a photo of a {}",
        ]
        for wrong in (["sketch"], ["sketch", " "], ["sketch", "{}"]):
            with pytest.raises(ValidationError):
                kind.Hyper(anchors=wrong)


class TestEmbedding:
    @pytest.mark.parametrize(("distance", "expected"), [("mse", 1.4), ("cosine", 0.7)])
    def test_distance_to_the_teachers(
        self, distance: str, expected: float, make_texts: Any
    ) -> None:
        kind: Any = METHODS["embedding"]
        texts = make_texts(torch.eye(2))
        method = kind(kind.Hyper(distance=distance, weight=2.0), text=texts)
        # Cosines with the teacher's embeddings: 0.6 and 0.
        projected, image = torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.eye(2)[[0, 0]]
        out = StudentOutput(torch.zeros(2, 1), torch.zeros(2, 2), projected)
        losses = method.losses(None, out, torch.tensor([0, 1]), TeacherOutputs(image, texts))
        close(losses["embedding"].double(), expected)
        close(losses["loss"].double(), math.log(2) + 2 * expected)


def test_unlabelled_images_are_in_the_terms_of_the_teacher(make_texts: Any) -> None:
    """Of two images the second has no label: its cosine with the teacher's embedding is 0."""
    projected, image = torch.tensor([[0.6, 0.8], [0.0, 1.0]]), torch.eye(2)[[0, 0]]
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    out = StudentOutput(torch.zeros(2, 1), logits, projected)
    texts, labels = make_texts(torch.eye(2), 1.0), torch.tensor([0, -1])

    def losses(name: str, **hyper: float) -> dict[str, Tensor]:
        kind: Any = METHODS[name]
        method = kind(kind.Hyper(**hyper), text=texts)
        given: dict[str, Tensor] = method.losses(None, out, labels, TeacherOutputs(image, texts))
        return {term: value.double() for term, value in given.items()}

    # The student's probabilities are (3/4, 1/4) and (1/2, 1/2), the teacher's e/(e+1) and the rest.
    p = math.e / (math.e + 1)
    entropy = p * math.log(p) + (1 - p) * math.log(1 - p)
    soft = entropy - (p * math.log(3 / 8) + (1 - p) * math.log(1 / 8)) / 2
    kd = losses("kd", temperature=1.0)
    close(kd["cross_entropy"], math.log(4 / 3))
    close(kd["distillation"], soft)
    embedding = losses("embedding", weight=2.0)
    close(embedding["cross_entropy"], math.log(4 / 3))
    close(embedding["loss"], math.log(4 / 3) + 2 * 1.4)
    vl2v = losses("vl2v")
    close(vl2v["image"], 0.7)
    close(vl2v["text"], 0.4)


def test_vl2v_is_drawn_to_both_and_classifies_by_texts(make_texts: Any) -> None:
    kind: Any = METHODS["vl2v"]
    texts = make_texts(torch.eye(2), 10.0)
    method = kind(kind.Hyper(), text=texts)
    head = method.head(2, 2, torch.eye(2))
    out = head(torch.tensor([[3.0, 4.0]]))
    close(out.logits.detach().double(), [[6.0, 8.0]])
    teacher = TeacherOutputs(torch.tensor([[0.0, -1.0]]), texts)
    losses = method.losses(head, out, torch.tensor([0]), teacher)
    close(losses["image"].detach().double(), 1.8)
    close(losses["text"].detach().double(), 0.4)
    close(losses["loss"].detach().double(), 1.1)


def test_the_state_of_vl2v_has_its_texts_and_their_scale(make_texts: Any) -> None:
    kind: Any = METHODS["vl2v"]
    trained, loaded = (
        kind(kind.Hyper(), text=make_texts(torch.eye(2), scale)).head(2, 2)
        for scale in (10.0, math.nan)
    )
    loaded.load_state_dict(trained.state_dict())
    features = torch.tensor([[3.0, 4.0]])
    assert torch.equal(loaded(features).logits, trained(features).logits)
