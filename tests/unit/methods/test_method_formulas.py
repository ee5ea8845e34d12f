"""The formulas against values worked out by hand in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgedistill.methods.functional import (
    class_perturbation,
    cosine_matrix,
    distillation,
    half_similarity,
    hard_sample_count,
    hard_sample_indices,
    instance_weights,
    perturb_scores,
    similarity,
    soft_cross_entropy,
    weighted_soft_cross_entropy,
)


def t(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, expected: object, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(actual, t(expected), atol=tolerance, rtol=0)


def random_probabilities(seed: int, rows: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return F.softmax(logits, dim=-1)


seeds = st.integers(0, 2**31)
quick = settings(max_examples=30, deadline=None)


class TestSimilarity:
    def test_softmax_of_cosines_times_hundred(self) -> None:
        close(similarity(t([[0.25, 0.24]]), 100.0), [[0.7310586, 0.2689414]])
        close(similarity(t([[0.26, 0.25, 0.24]]), 100.0), [[0.665241, 0.2447285, 0.0900306]])

    def test_half_precision_underflows_where_float32_does_not(self, make_texts: Any) -> None:
        image, text = torch.tensor([[0.30, 0.10]]), make_texts(torch.eye(2))
        full, half = similarity(image, 100.0), half_similarity(text, image, 100.0)
        assert half.dtype == torch.float32
        assert full[0, 1] > 0
        assert half[0, 1] == 0

    def test_half_precision_scales_the_embedding_not_the_cosine(self, make_texts: Any) -> None:
        """In float16, 28 * 0.6 + 96 * 0.8 rounds to 93.5625 and 96 * 0.975 to 93.625.

        Both cosines round to 0.936: scaled afterwards they would tie at 0.5 each.
        """
        image, text = (
            torch.tensor([[0.28, 0.96]]),
            make_texts(torch.tensor([[0.6, 0.8], [0, 0.975]])),
        )
        p = half_similarity(text, image, 100.0)
        close(p[0, 0].double(), 1 / (1 + math.exp(1 / 16)), tolerance=5e-4)
        rounded_first = similarity(text.cosines(image.half()), 100.0)
        assert rounded_first[0, 0] == 0.5


class TestInstanceWeights:
    @pytest.mark.parametrize(
        ("classes", "expected"), [(6, 4.192963), (54, 24.317281), (270, 88.123353)]
    )
    def test_uniform_teacher(self, classes: int, expected: float) -> None:
        close(instance_weights(torch.full((1, classes), 1 / classes).double(), 0.8), [expected])

    def test_half_sure_sure_and_switched_off(self) -> None:
        close(instance_weights(t([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]]), 0.8), [1.741101, 1.0])
        close(instance_weights(t([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]), 0.0), [1.0, 1.0])

    @quick
    @given(seed=seeds, alpha=st.floats(0, 3), classes=st.integers(2, 20))
    def test_range(self, seed: int, alpha: float, classes: int) -> None:
        w = instance_weights(random_probabilities(seed, 7, classes), alpha)
        assert ((w >= 1) & (w <= classes**alpha + 1e-9)).all()


def perturb_row(p: Tensor, label: int, tau: float) -> Tensor:
    if int(p.argmax()) == label:
        return p
    raised = p.clone()
    raised[label] += p.max()
    return F.softmax(raised / tau, dim=0)


class TestScorePerturbation:
    P = ((0.7, 0.2, 0.1),)

    def test_right_teacher_is_untouched(self) -> None:
        assert torch.equal(perturb_scores(t(self.P), torch.tensor([0]), 0.5), t(self.P))

    @pytest.mark.parametrize(
        ("tau", "expected"),
        [(0.5, [0.3580355, 0.5341262, 0.1078382]), (1.0, [0.3609829, 0.4409055, 0.1981116])],
    )
    def test_wrong_teacher(self, tau: float, expected: list[float]) -> None:
        close(perturb_scores(t(self.P), torch.tensor([1]), tau), [expected])

    def test_underflowed_label_ties_with_the_wrong_class(self) -> None:
        q = perturb_scores(t([[1.0, 0.0, 0.0]]), torch.tensor([2]), 0.5)
        close(q, [[0.4683105, 0.0633789, 0.4683105]])

    def test_ties_go_to_the_lowest_index(self) -> None:
        p = t([[0.4, 0.4, 0.2]])
        assert torch.equal(perturb_scores(p, torch.tensor([0]), 0.5), p)
        assert not torch.equal(perturb_scores(p, torch.tensor([1]), 0.5), p)

    @pytest.mark.parametrize(
        ("classes", "label_mass", "entropy", "bound"),
        [
            (6, 0.3935, 0.758, 0.5238),
            (54, 0.1107, 0.942, 0.1190),
            (270, 0.0261, 0.990, 0.0266),
        ],
    )
    def test_target_is_flat_for_many_classes(
        self, classes: int, label_mass: float, entropy: float, bound: float
    ) -> None:
        sure = torch.zeros(1, classes, dtype=torch.float64)
        sure[0, 0] = 1.0
        q = perturb_scores(sure, torch.tensor([1]), 0.5)
        assert float(q[0, 1]) == pytest.approx(label_mass, abs=6e-5)
        relative = float(torch.special.entr(q).sum()) / math.log(classes)
        assert relative == pytest.approx(entropy, abs=6e-4)
        # The label gains most when it was about to win: both classes at one half.
        torn = torch.zeros(1, classes, dtype=torch.float64)
        torn[0, :2] = 0.5
        best = perturb_scores(torn, torch.tensor([1]), 0.5)
        assert float(best[0, 1]) == pytest.approx(bound, abs=6e-5)
        assert float(best[0, 1]) == pytest.approx(
            math.e**2 / (math.e**2 + math.e + classes - 2), abs=1e-9
        )

    @pytest.mark.parametrize("wrong", [0, 1, 6])
    def test_batch_equals_a_rule_per_row(self, wrong: int) -> None:
        p = random_probabilities(3, 6, 4)
        labels = p.argmax(dim=-1)
        labels[:wrong] = (labels[:wrong] + 1) % 4
        expected = torch.stack(
            [perturb_row(row, int(y), 0.5) for row, y in zip(p, labels, strict=True)]
        )
        torch.testing.assert_close(perturb_scores(p, labels, 0.5), expected)

    @quick
    @given(seed=seeds, tau=st.floats(0.05, 5), classes=st.integers(2, 12))
    def test_is_a_distribution_whose_top_is_the_label(
        self, seed: int, tau: float, classes: int
    ) -> None:
        p = random_probabilities(seed, 9, classes)
        labels = torch.randint(0, classes, (9,), generator=torch.Generator().manual_seed(seed))
        before = p.clone()
        q = perturb_scores(p, labels, tau)
        close(q.sum(dim=-1), [1.0] * 9, 1e-9)
        # An entry below 1e-6 may round away next to the row's maximum.
        decided = p.gather(1, labels[:, None])[:, 0] > 1e-6
        assert (q.argmax(dim=-1) == labels)[decided].all()
        assert torch.equal(p, before)


class TestWeightedSoftCrossEntropy:
    Z = ((2.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    Q = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.0))

    def test_rows(self) -> None:
        close(soft_cross_entropy(t(self.Z), t(self.Q)), [0.2395448, 1.0986123])

    def test_weights(self) -> None:
        z, q = t(self.Z), t(self.Q)
        close(weighted_soft_cross_entropy(z, q, t([1.0, 2**0.8])), 0.7852099)
        close(weighted_soft_cross_entropy(z, q, t([3.0, 3.0])), 0.6690785)

    @quick
    @given(seed=seeds, factor=st.floats(1e-3, 1e3), classes=st.integers(2, 9))
    def test_properties(self, seed: int, factor: float, classes: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        q, w = (
            random_probabilities(seed, 5, classes),
            torch.rand(5, generator=generator).double() + 0.1,
        )
        z = torch.randn(5, classes, generator=generator, dtype=torch.float64)
        zero = weighted_soft_cross_entropy(torch.zeros_like(z), q, w)
        assert float(zero) == pytest.approx(math.log(classes))
        torch.testing.assert_close(
            weighted_soft_cross_entropy(z, q, w * factor), weighted_soft_cross_entropy(z, q, w)
        )
        labels = torch.randint(0, classes, (5,), generator=generator)
        one_hot = F.one_hot(labels, classes).double()
        torch.testing.assert_close(
            weighted_soft_cross_entropy(z, one_hot, torch.ones(5).double()),
            F.cross_entropy(z, labels),
        )


class TestClassPerturbation:
    @pytest.mark.parametrize(
        ("classes", "double", "single"),
        [
            (2, 0.6128309, 0.5822031),
            (3, 1.0254681, 0.9753278),
            (6, 1.7540721, 1.6914043),
            (54, 3.9880594, 3.9715221),
        ],
    )
    def test_identity(self, classes: int, double: float, single: float) -> None:
        eye = torch.eye(classes, dtype=torch.float64)
        close(class_perturbation(eye, eye, double_softmax=True), double)
        close(class_perturbation(eye, eye), single)
        b = 1 / (math.e + classes - 1)
        a = math.e * b
        closed = math.log(math.exp(a) + (classes - 1) * math.exp(b)) - a * a - (classes - 1) * b * b
        close(class_perturbation(eye, eye, double_softmax=True), closed, 1e-12)

    @pytest.mark.parametrize("double_softmax", [False, True])
    def test_constant_prediction_gives_log_c(self, double_softmax: bool) -> None:
        eye = torch.eye(6, dtype=torch.float64)
        flat = torch.full((6, 6), 0.3, dtype=torch.float64)
        close(class_perturbation(eye, flat, double_softmax=double_softmax), math.log(6), 1e-12)

    def test_opposite_prediction(self) -> None:
        eye = torch.eye(3, dtype=torch.float64)
        close(class_perturbation(eye, -eye, double_softmax=True), 1.1710942)

    def test_the_single_softmax_is_least_at_the_target(self) -> None:
        target = cosine_matrix(random_probabilities(0, 5, 8), random_probabilities(0, 5, 8))
        at_target = class_perturbation(target, target)
        for seed in range(5):
            noise = random_probabilities(seed, 5, 5)
            assert class_perturbation(target, target + noise) > at_target

    def test_halves_agree_for_symmetric_matrices_and_transposing_is_free_otherwise(self) -> None:
        x = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        torch.testing.assert_close(class_perturbation(x, y), class_perturbation(x.T, y.T))
        target, prediction = x + x.T, y + y.T
        rows = soft_cross_entropy(prediction, F.softmax(target, dim=-1)).mean()
        torch.testing.assert_close(class_perturbation(target, prediction), rows)

    def test_row_scale_of_the_classifier_is_ignored(self) -> None:
        texts, rows = random_probabilities(0, 5, 8), random_probabilities(1, 5, 8)
        scaled = rows * torch.tensor([0.1, 1.0, 3.0, 20.0, 7.0]).double()[:, None]
        torch.testing.assert_close(cosine_matrix(texts, scaled), cosine_matrix(texts, rows))

    def test_double_softmax_nearly_silences_the_gradient(self) -> None:
        eye = torch.eye(54, dtype=torch.float64)

        def gradient(double_softmax: bool) -> float:
            prediction = torch.zeros(54, 54, dtype=torch.float64, requires_grad=True)
            class_perturbation(eye, prediction, double_softmax=double_softmax).backward()
            assert prediction.grad is not None
            return float(prediction.grad.norm())

        assert gradient(False) == pytest.approx(54 * gradient(True), rel=1e-6)


class TestDistillation:
    U = ((2.0, 1.0, 0.0),)

    def test_softened_teacher(self) -> None:
        close(F.softmax(t(self.U) / 3, dim=-1), [[0.4484409, 0.3213219, 0.2302372]])

    @pytest.mark.parametrize(
        ("z", "expected"),
        [([0.0, 0.0, 0.0], 0.3243154), ([0.0, 1.0, 2.0], 1.3092219), ([9.0, 8.0, 7.0], 0.0)],
    )
    def test_values(self, z: list[float], expected: float) -> None:
        close(distillation(t(self.U), t([z]), 3.0), expected)

    def test_is_the_mean_over_rows(self) -> None:
        u, z = t([*self.U, *self.U]), t([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
        close(distillation(u, z, 3.0), (0.3243154 + 1.3092219) / 2)

    def test_survives_a_teacher_that_is_certain(self) -> None:
        u = torch.tensor([[1000.0, 0.0]])
        assert torch.isfinite(distillation(u, torch.zeros(1, 2), 1.0))


class TestHardSamples:
    @pytest.mark.parametrize(
        ("batch", "fraction", "expected"),
        [(96, 0.2, 19), (96, 0.25, 24), (96, 0.3, 28), (160, 0.2, 32), (3, 0.2, 1), (8, 1.0, 8)],
    )
    def test_count(self, batch: int, fraction: float, expected: int) -> None:
        assert hard_sample_count(batch, fraction) == expected

    def test_hardest_first(self) -> None:
        assert hard_sample_indices(t([0.1, 2.0, 0.5, 3.0]), 0.5).tolist() == [3, 1]
