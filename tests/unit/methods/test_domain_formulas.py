"""The domain-generalisation methods against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from culprits import raises
from torch import Tensor

from edgedistill.errors import TrainingError
from edgedistill.methods import METHODS, StudentOutput
from edgedistill.methods.base import DomainMethod, SourceRows
from edgedistill.methods.domain_formulas import (
    coral_distance,
    domain_means,
    gaussian_mmd,
    mixed_cross_entropy,
    population_variance,
    salient_features,
)

DOMAIN_METHODS = [name for name, kind in METHODS.items() if kind.uses_domains]


def t(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual.double(), t(expected), atol=1e-6, rtol=0)


# Rows of domain 0: means 1 and 0, variances 2 and 0. Of domain 1: 3 and 2, 2 and 8, covariance 4.
FEATURES = t([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [4.0, 4.0]])
DOMAINS = torch.tensor([0, 0, 1, 1])


def kernel(squared: float) -> float:
    return sum(math.exp(-width * squared) for width in (0.001, 0.01, 0.1, 1, 10, 100, 1000))


class TestDomainMeans:
    def test_of_numbers_and_of_vectors_in_any_order(self) -> None:
        domains = torch.tensor([1, 0, 1, 0, 0])
        values = t([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [6.0, 60.0], [7.0, 70.0]])
        close(domain_means(values, domains, 2), [[5.0, 50.0], [2.0, 20.0]])
        close(domain_means(values[:, 0], domains, 2), [5.0, 2.0])


class TestCoral:
    def test_means_and_covariances(self) -> None:
        # Means differ by (2, 2): 4 on average. Covariances by [[0, 4], [4, 8]]: 24 on average.
        close(coral_distance(FEATURES, DOMAINS, 2), 4.0 + 24.0)

    def test_is_the_mean_over_pairs_of_domains(self) -> None:
        features = torch.cat([FEATURES, FEATURES[:2]])
        domains = torch.tensor([0, 0, 1, 1, 2, 2])
        close(coral_distance(features, domains, 3), (28.0 + 28.0 + 0.0) / 3)

    def test_a_single_row_of_a_domain_has_no_covariance(self) -> None:
        rows = FEATURES[[0, 1, 3]].clone().requires_grad_()
        distance = coral_distance(rows, DOMAINS[[0, 1, 3]], 2)
        close(distance, (9.0 + 16.0) / 2 + 1.0)
        distance.backward()
        assert rows.grad is not None and bool(rows.grad.isfinite().all())


class TestMMD:
    def test_is_the_sum_over_seven_kernels(self) -> None:
        # Squared distances: within 4 and 20, across 4, 32, 0 and 20.
        within = (7 + kernel(4)) / 2 + (7 + kernel(20)) / 2
        across = (kernel(4) + kernel(32) + 7 + kernel(20)) / 4
        close(gaussian_mmd(FEATURES, DOMAINS, 2), within - 2 * across)

    def test_of_equal_domains_is_nothing(self) -> None:
        features = FEATURES[[0, 1, 0, 1]].clone().requires_grad_()
        distance = gaussian_mmd(features, DOMAINS, 2)
        close(distance, 0.0)
        distance.backward()
        assert features.grad is not None and bool(features.grad.isfinite().all())


def test_variance_of_the_risks() -> None:
    close(population_variance(t([1.0, 2.0, 6.0])), 14 / 3)


def test_the_most_salient_features_of_each_row() -> None:
    gradients = t([[0.0, 3.0, 1.0, 2.0], [4.0, -9.0, 5.0, 0.0]])
    # Quantile 2/3 of four lies at the third.
    expected = [[False, True, False, True], [True, False, True, False]]
    assert salient_features(gradients, 1 / 3).tolist() == expected


def test_mixed_labels() -> None:
    logits = t([[math.log(3), 0.0], [0.0, 0.0]])
    labels, partners = torch.tensor([0, 1]), torch.tensor([1, 0])
    loss = mixed_cross_entropy(logits, labels, partners, t([0.75, 1.0]))
    first = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    close(loss, (first + math.log(2)) / 2)


class TestWeights:
    """What is minimised, from the terms that are shown."""

    @pytest.mark.parametrize(
        ("name", "hyper", "weights"),
        [
            ("coral", {"weight": 3.0}, {"alignment": 3.0}),
            ("mmd", {"weight": 3.0}, {"discrepancy": 3.0}),
            ("vrex", {"weight": 3.0, "anneal_steps": 0}, {"variance": 3.0}),
            ("vrex", {"weight": 3.0, "anneal_steps": 1}, {"variance": 1.0}),
            ("arpl", {"weight": 3.0}, {"margin": 3.0}),
        ],
    )
    def test_of_the_terms(
        self, name: str, hyper: dict[str, Any], weights: dict[str, float], make_setting: Any
    ) -> None:
        setting = make_setting(name, **hyper)
        losses = setting.losses()
        assert set(losses) == {"loss", "cross_entropy", *weights}
        total = losses["cross_entropy"] + sum(w * losses[term] for term, w in weights.items())
        torch.testing.assert_close(losses["loss"], total)
        hard = F.cross_entropy(setting.output().logits, setting.labels)
        torch.testing.assert_close(losses["cross_entropy"], hard)

    def test_vrex_weighs_the_variance_after_its_first_steps(self, make_setting: Any) -> None:
        setting = make_setting("vrex", weight=100.0, anneal_steps=2)
        losses = []
        for _ in range(3):
            losses.append(float(setting.losses()["loss"].detach()))
            setting.method.after_step(setting.head)
        assert losses[0] == losses[1] < losses[2]


class TestGroupDRO:
    def test_weights_grow_with_the_losses_and_stay_a_distribution(self, make_setting: Any) -> None:
        setting = make_setting("groupdro", eta=2.0)
        of_domain = domain_means(
            F.cross_entropy(setting.output().logits, setting.labels, reduction="none").detach(),
            setting.rows.domains,
            3,
        )
        weights = torch.ones(3)
        for _ in range(3):
            weights = weights * torch.exp(2.0 * of_domain)
            weights = weights / weights.sum()
            for _ in range(2):
                # Nothing moves before the step.
                losses = setting.losses()
                torch.testing.assert_close(losses["loss"], (weights * of_domain).sum())
            setting.method.after_step(setting.head)
            torch.testing.assert_close(setting.head.log_weights[:3].exp(), weights)
        assert float(losses["worst_domain"].detach()) == pytest.approx(float(of_domain.max()))

    def test_the_weights_have_no_gradient_of_their_own(self, make_setting: Any) -> None:
        setting = make_setting("groupdro", eta=5.0)
        setting.losses()["loss"].backward()
        gradient = setting.head.classifier.bias.grad.clone()
        setting.head.zero_grad()
        weights = setting.head.next_log_weights[:3].exp()
        losses = F.cross_entropy(setting.output().logits, setting.labels, reduction="none")
        (weights * domain_means(losses, setting.rows.domains, 3)).sum().backward()
        torch.testing.assert_close(setting.head.classifier.bias.grad, gradient)

    def test_more_domains_than_it_can_weigh(self, make_setting: Any) -> None:
        setting = make_setting("groupdro")
        setting.rows = setting.rows._replace(num_domains=1025)
        with raises(TrainingError, "1025", "1024"):
            setting.losses()


class TestRSC:
    def test_mutes_what_the_hardest_hit_images_rely_on(self) -> None:
        kind: Any = METHODS["rsc"]
        method = kind(kind.Hyper(feature_share=0.5, image_share=0.5), text=None)
        head = method.head(3, 2)
        with torch.no_grad():
            head.classifier.weight.copy_(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]]))
            head.classifier.bias.zero_()
        # The median weight and those above: 2 and 1 of class 0. Only the first image lives by them.
        features = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        labels = torch.tensor([0, 0])
        out = StudentOutput(features, head.classifier(features), None)
        loss = method.losses(head, out, labels, None)["loss"]
        # Muted, the first is a coin flip; the second is as it was.
        expected = (math.log(2) + math.log(1 + math.exp(3))) / 2
        assert float(loss.detach()) == pytest.approx(expected)


class TestARPL:
    def test_distances_from_the_points(self) -> None:
        kind: Any = METHODS["arpl"]
        method = kind(kind.Hyper(weight=2.0, temperature=2.0), text=None)
        head = method.head(2, 2)
        with torch.no_grad():
            head.points.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
            head.radius.fill_(3.0)
        features = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
        out = head(features)
        # Mean squared differences 2.5 and 6.5 less inner products 3 and -1, then both over 2.
        close(out.logits[0], [(2.5 - 3.0) / 2, (6.5 + 1.0) / 2])
        close(out.logits[1], [0.25, 0.25])
        losses = method.losses(head, out, torch.tensor([1, 0]), None)
        close(losses["margin"].detach(), (3.5 + 0.0) / 2)
        hard = (math.log(1 + math.exp(-4.0)) + math.log(2)) / 2
        close(losses["loss"].detach(), hard + 2 * 1.75)


class TestMixup:
    DOMAINS = np.array([0, 0, 1, 1, 1, 2])

    def mix(self, seed: int, alpha: float = 0.2) -> Any:
        kind: Any = METHODS["mixup"]
        method = kind(kind.Hyper(alpha=alpha), text=None)
        return method.mix(self.DOMAINS, np.random.default_rng(seed))

    def test_every_domain_is_mixed_with_another_at_one_ratio(self) -> None:
        pairs = set()
        for seed in range(20):
            mixture = self.mix(seed)
            others = self.DOMAINS[mixture.partners]
            for domain in range(3):
                own = domain == self.DOMAINS
                (other,) = set(others[own])
                assert other != domain
                pairs.add((domain, other))
                assert len(set(mixture.shares[own])) == 1
            assert set(others) == {0, 1, 2}
            # As many partners as there are, each as often.
            of_first = mixture.partners[:2]
            assert len(set(of_first)) == (1 if set(others[:2]) == {2} else 2)
        assert len(pairs) == 6

    def test_the_ratio_is_beta_distributed(self) -> None:
        shares = np.array([self.mix(seed, 2.0).shares[[0, 2, 5]] for seed in range(400)]).ravel()
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        # Of Beta(2, 2) the variance is 1 / 20.
        assert shares.var() == pytest.approx(0.05, abs=0.005)

    def test_images_that_were_not_mixed_are_refused(self, make_setting: Any) -> None:
        setting = make_setting("mixup")
        setting.rows = setting.rows._replace(partners=None, shares=None)
        with pytest.raises(ValueError, match="partners"):
            setting.losses()


@pytest.mark.parametrize("name", DOMAIN_METHODS)
class TestEveryDomainMethod:
    def test_needs_the_domains(self, name: str, make_setting: Any) -> None:
        assert issubclass(METHODS[name], DomainMethod)
        setting = make_setting(name)
        with pytest.raises(ValueError, match="domain of every row"):
            setting.method.losses(setting.head, setting.output(), setting.labels, None)

    def test_rows_may_come_in_any_order(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        order = torch.randperm(len(setting.labels), generator=torch.Generator().manual_seed(3))
        out, rows = setting.output(), setting.rows
        again = setting.method.losses(
            setting.head,
            StudentOutput(out.features[order], out.logits[order], None),
            setting.labels[order],
            None,
            SourceRows(
                rows.domains[order],
                rows.num_domains,
                order.argsort()[rows.partners[order]],
                rows.shares[order],
            ),
        )
        for term, value in setting.losses().items():
            torch.testing.assert_close(again[term], value)
