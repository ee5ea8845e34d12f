"""Every method as the training loop sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
)

from edgedistill.methods import METHODS, StudentOutput, TeacherOutputs, authors_values, search_space
from edgedistill.methods.functional import (
    UNLABELLED,
    cosine_matrix,
    distillation,
    focal_loss,
    half_similarity,
    hard_sample_indices,
    labelled_mean,
    similarity,
    soft_cross_entropy,
)
from edgedistill.methods.heads import ProjectionHead, TextHead

NAMES = tuple(METHODS)


@pytest.mark.parametrize("name", NAMES)
class TestEveryMethod:
    def test_docs_line(self, name: str) -> None:
        assert len(METHODS.summary(name)) > 10

    def test_gradients_reach_every_trainable_parameter(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        setting.losses()["loss"].backward()
        for module in (setting.backbone, setting.head):
            for key, parameter in module.named_parameters():
                assert parameter.grad is not None, key
                assert parameter.grad.abs().sum() > 0, key

    def test_losses_are_finite_scalars(self, name: str, make_setting: Any) -> None:
        losses = make_setting(name).losses()
        assert {"loss"} < set(losses)
        for value in losses.values():
            assert value.shape == ()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)

    def test_one_step_down_the_gradient_lowers_the_loss(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        before = setting.losses()["loss"]
        before.backward()
        with torch.no_grad():
            for parameter in [*setting.backbone.parameters(), *setting.head.parameters()]:
                parameter -= 1e-3 * parameter.grad
        assert setting.losses()["loss"] < before

    def test_groups_hold_every_parameter_once(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        groups = setting.method.param_groups(setting.backbone, setting.head)
        held = [id(p) for group in groups for p in group["params"]]
        every = [id(p) for m in (setting.backbone, setting.head) for p in m.parameters()]
        assert sorted(held) == sorted(every)
        assert groups[0]["name"] == "backbone"
        assert groups[0]["lr_scale"] == 1.0

    def test_nothing_waits_for_the_device(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        # Fake tensors have no values: reading one, or a shape that depends on one, raises.
        with FakeTensorMode(allow_non_fake_inputs=True):
            losses = setting.losses()
            setting.method.after_step(setting.head)
            assert all(isinstance(value, FakeTensor) for value in losses.values())
            with pytest.raises(DataDependentOutputException):
                losses["loss"].item()

    def test_autocast_does_not_round_the_losses(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name, logit_scale=100.0)
        out = setting.output()
        given = (setting.head, out, setting.labels, setting.teacher_outputs, setting.rows)
        plain = setting.method.losses(*given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = setting.method.losses(*given)
        assert all(torch.equal(plain[key], cast[key]) for key in plain)

    def test_it_says_whether_it_projects(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        assert METHODS[name].projects == (setting.output().projected is not None)

    def test_teacher_is_asked_for_when_needed(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        arguments = (setting.head, setting.output(), setting.labels, None, setting.rows)
        if setting.method.needs_teacher:
            with pytest.raises(ValueError, match=f"{METHODS[name].__name__} needs the teacher"):
                setting.method.losses(*arguments)
        else:
            assert setting.method.losses(*arguments)["loss"] > 0

    def test_unknown_and_infinite_hyper_parameters_are_refused(self, name: str) -> None:
        with pytest.raises(ValidationError):
            METHODS[name].Hyper.model_validate({"nonsense": 1})
        for field in METHODS[name].Hyper.model_fields:
            with pytest.raises(ValidationError):
                METHODS[name].Hyper.model_validate({field: math.inf})

    def test_every_hyper_parameter_is_described(self, name: str) -> None:
        assert all(f.description for f in METHODS[name].Hyper.model_fields.values())

    def test_authors_values_are_valid_and_differ_from_the_defaults(self, name: str) -> None:
        hyper = METHODS[name].Hyper
        authors = authors_values(hyper)
        faithful = hyper(**authors)
        assert all(getattr(hyper(), key) != getattr(faithful, key) for key in authors)

    def test_a_search_range_lies_around_the_authors_value(self, name: str) -> None:
        hyper = METHODS[name].Hyper
        values = {**hyper().model_dump(), **authors_values(hyper)}
        for key, values_to_search in search_space(hyper).items():
            assert values_to_search.low < values[key] < values_to_search.high
            for end in (values_to_search.low, values_to_search.high):
                hyper.model_validate({key: float(end)})


@pytest.mark.parametrize("name", [name for name in NAMES if METHODS[name].uses_unlabelled])
class TestUnlabelledRows:
    def test_they_are_in_the_teachers_terms_alone(self, name: str, make_setting: Any) -> None:
        # CRD otherwise takes its negatives by the labels.
        hyper = {"negatives": "other_images"} if name == "crd" else {}
        setting = make_setting(name, **hyper)
        out, teacher, labelled = setting.output(), setting.teacher_outputs, slice(0, 7)
        labels = setting.labels.clone()
        labels[7:] = UNLABELLED
        losses = setting.method.losses(setting.head, out, labels, teacher)
        hard = {"cross_entropy", "text"} & set(losses)
        assert hard
        first = setting.method.losses(
            setting.head,
            StudentOutput(*(None if part is None else part[labelled] for part in out)),
            labels[labelled],
            teacher._replace(image=teacher.image[labelled]),
        )
        every = setting.method.losses(setting.head, out, setting.labels, teacher)
        for term in set(losses) - {"loss"}:
            torch.testing.assert_close(losses[term], (first if term in hard else every)[term])

    def test_gradients_stay_finite_beside_them(self, name: str, make_setting: Any) -> None:
        setting = make_setting(name)
        setting.labels[7:] = UNLABELLED
        setting.losses()["loss"].backward()
        gradients = [p.grad for p in setting.head.parameters()]
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_where_every_row_has_a_label_the_mean_is_torchs() -> None:
    values = torch.randn(97, generator=torch.Generator().manual_seed(0), requires_grad=True)
    means = labelled_mean(values, torch.arange(97)), values.mean()
    assert torch.equal(*means)
    assert torch.equal(*(torch.autograd.grad(mean, values)[0] for mean in means))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_synchronises_with_the_host(name: str, make_setting: Any) -> None:
    setting = make_setting(name, device="cuda")
    setting.losses()["loss"].backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        setting.losses()["loss"].backward()
        setting.method.after_step(setting.head)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss(gamma: float) -> None:
    # The labels' probabilities are 1/4 and 1, the latter exactly.
    logits = torch.tensor([[0.0, math.log(3)], [200.0, 0.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), gamma)
    assert float(loss.detach()) == pytest.approx(0.75**gamma * math.log(4) / 2)
    loss.backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


class TestERM:
    def test_is_cross_entropy(self, make_setting: Any) -> None:
        setting = make_setting("erm")
        expected = F.cross_entropy(setting.output().logits, setting.labels)
        torch.testing.assert_close(setting.losses()["loss"], expected)
        assert setting.output().projected is None


class TestKD:
    def test_is_cross_entropy_plus_weighted_divergence(self, make_setting: Any) -> None:
        setting = make_setting("kd", temperature=2.0, weight=3.0)
        logits = setting.output().logits
        image, text, _ = setting.teacher_outputs
        soft = distillation(text.cosines(image) * text.logit_scale, logits, 2.0)
        expected = F.cross_entropy(logits, setting.labels) + 3.0 * soft
        torch.testing.assert_close(setting.losses()["loss"], expected)


class TestCLIPBase:
    def test_ignores_the_labels(self, make_setting: Any) -> None:
        setting = make_setting("clipbase")
        before = setting.losses()["loss"]
        setting.labels = setting.labels.roll(1)
        assert torch.equal(setting.losses()["loss"], before)

    def test_authors_similarities(self, make_setting: Any) -> None:
        setting = make_setting("clipbase", similarity_scale=100.0, half_similarity=True)
        image, text, _ = setting.teacher_outputs
        target = half_similarity(text, image, 100.0)
        expected = soft_cross_entropy(setting.output().logits, target).mean()
        torch.testing.assert_close(setting.losses()["loss"], expected)


class TestSCIPD:
    def test_everything_off_is_clipbase_plus_nothing(self, make_setting: Any) -> None:
        setting = make_setting(
            "scipd", score_perturbation=False, instance_perturbation=False, beta=0.0
        )
        image, text, _ = setting.teacher_outputs
        target = similarity(text.cosines(image), text.logit_scale)
        expected = soft_cross_entropy(setting.output().logits, target).mean()
        torch.testing.assert_close(setting.losses()["loss"], expected)

    def test_alpha_zero_is_no_instance_perturbation(self, make_setting: Any) -> None:
        zero = make_setting("scipd", alpha=0.0).losses()["loss"]
        off = make_setting("scipd", instance_perturbation=False).losses()["loss"]
        torch.testing.assert_close(zero, off)
        assert not torch.isclose(make_setting("scipd").losses()["loss"], off)

    def test_weights_come_from_the_unperturbed_scores(self, make_setting: Any) -> None:
        setting = make_setting("scipd", beta=0.0, tau=0.01)
        image, text, _ = setting.teacher_outputs
        p = similarity(text.cosines(image), text.logit_scale)
        w = p.amax(dim=-1) ** -0.8
        # At a temperature this low the corrected target is the label itself.
        logits, labels = setting.output().logits, setting.labels
        wrong = p.argmax(dim=-1) != labels
        assert wrong.any()
        p[wrong] = F.one_hot(labels[wrong], p.shape[1]).float()
        expected = (w * soft_cross_entropy(logits, p)).sum() / w.sum()
        assert float(setting.losses()["loss"].detach()) == pytest.approx(
            float(expected.detach()), rel=0.05
        )

    def test_classifier_starts_at_the_class_texts(self, make_setting: Any) -> None:
        setting = make_setting("scipd")
        pooled = setting.teacher_outputs.text.pooled
        assert torch.equal(setting.head.classifier.weight, pooled)
        norms = setting.head.classifier.weight.norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        torch.testing.assert_close(
            cosine_matrix(pooled, setting.head.classifier.weight), cosine_matrix(pooled, pooled)
        )
        assert setting.head.classifier.weight.requires_grad
        setting.losses()["loss"].backward()
        with torch.no_grad():
            setting.head.classifier.weight.zero_()
        assert pooled.abs().sum() > 0

    def test_text_init_off_draws_other_rows(self, make_setting: Any) -> None:
        setting = make_setting("scipd", text_init=False)
        pooled = setting.teacher_outputs.text.pooled
        assert not torch.allclose(setting.head.classifier.weight, pooled)

    def test_texts_of_other_classes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="class texts are"):
            TextHead(4, 3, 8, torch.zeros(5, 8))

    def test_hidden_layer_starts_at_the_projection(self, make_texts: Callable[..., Any]) -> None:
        texts, projection = make_texts(torch.eye(3)), torch.randn(3, 4)
        for on in (True, False):
            method = METHODS["scipd"](METHODS["scipd"].Hyper(projector_init=on), text=texts)
            head = method.head(4, 3, projection)
            assert torch.equal(head.hidden.weight, projection) == on
            assert torch.equal(head.hidden.bias, torch.zeros(3)) == on

    def test_head_learns_faster(self, make_setting: Any) -> None:
        setting = make_setting("scipd", head_lr_scale=7.0)
        groups = setting.method.param_groups(setting.backbone, setting.head)
        assert [g.get("lr_scale") for g in groups] == [1.0, 7.0]

    def test_row_scale_leaves_the_class_perturbation(self, make_setting: Any) -> None:
        setting = make_setting("scipd")
        before = setting.losses()["class_perturbation"]
        with torch.no_grad():
            setting.head.classifier.weight.mul_(torch.tensor([[0.5], [1], [2], [4], [8]]))
        torch.testing.assert_close(setting.losses()["class_perturbation"], before)

    def test_authors_values(self) -> None:
        assert authors_values(METHODS["scipd"].Hyper) == {
            "similarity_scale": 100.0,
            "double_softmax": True,
            "two_optimizers": True,
            "half_similarity": True,
            "projector_init": False,
        }

    @pytest.mark.parametrize(
        ("flag", "term"),
        [
            ({"similarity_scale": 100.0}, "classification"),
            ({"half_similarity": True}, "classification"),
            ({"double_softmax": True}, "class_perturbation"),
        ],
    )
    def test_authors_values_change_their_term_only(
        self, flag: dict[str, Any], term: str, make_setting: Any
    ) -> None:
        plain, flagged = make_setting("scipd").losses(), make_setting("scipd", **flag).losses()
        for key in ("classification", "class_perturbation"):
            assert torch.equal(plain[key], flagged[key]) == (key != term)

    def test_similarity_scale_defaults_to_the_teachers(self, make_setting: Any) -> None:
        own = make_setting("scipd", logit_scale=37.0).losses()["loss"]
        given = make_setting("scipd", logit_scale=5.0, similarity_scale=37.0).losses()["loss"]
        assert torch.equal(own, given)

    def test_two_optimizers(self, make_setting: Any) -> None:
        assert make_setting("scipd").method.optimizers == 1
        assert make_setting("scipd", two_optimizers=True).method.optimizers == 2

    def test_needs_class_texts_for_its_head(self) -> None:
        with pytest.raises(ValueError, match="needs the class texts"):
            METHODS["scipd"](METHODS["scipd"].Hyper(), text=None).head(4, 3)


class TestSCMD:
    def test_projector_starts_at_the_projection(self, make_texts: Callable[..., Any]) -> None:
        texts, projection = make_texts(torch.eye(3)), torch.randn(3, 4)
        for on in (True, False):
            method = METHODS["scmd"](METHODS["scmd"].Hyper(projector_init=on), text=texts)
            head = method.head(4, 3, projection)
            assert torch.equal(head.projector.weight, projection) == on

    def test_cross_modal_value(self, make_texts: Callable[..., Any]) -> None:
        texts = make_texts(torch.eye(2), logit_scale=3.0)
        method = METHODS["scmd"](METHODS["scmd"].Hyper(), text=texts)
        head = ProjectionHead(2, 2, 2)
        with torch.no_grad():
            head.projector.weight.copy_(torch.eye(2))
        teacher_outputs = TeacherOutputs(torch.tensor([[0.0, 1.0]]), texts)
        for factor in (1.0, 10.0):
            out = head(factor * torch.tensor([[3.0, 4.0]]))
            g = texts.cosines(out.projected) * head.log_scale.exp()
            torch.testing.assert_close(g, torch.tensor([[8.571429, 11.428571]]))
            losses = method.losses(head, out, torch.tensor([0]), teacher_outputs)
            assert float(losses["cross_modal"].detach()) == pytest.approx(0.0020208900, abs=1e-6)

    def test_weights_zero_is_cross_entropy_on_the_selected(self, make_setting: Any) -> None:
        setting = make_setting("scmd", lambda1=0.0, lambda2=0.0)
        out = setting.output()
        rows = hard_sample_indices(
            F.cross_entropy(out.logits, setting.labels, reduction="none"), 0.25
        )
        assert rows.shape == (3,)
        chosen = StudentOutput(out.features[rows], out.logits[rows], out.projected[rows])
        teacher_outputs = TeacherOutputs(
            setting.teacher_outputs.image[rows], setting.teacher_outputs.text
        )
        loss = setting.method.losses(setting.head, chosen, setting.labels[rows], teacher_outputs)[
            "loss"
        ]
        expected = F.cross_entropy(out.logits[rows], setting.labels[rows])
        torch.testing.assert_close(loss, expected)
        assert loss > F.cross_entropy(out.logits, setting.labels)

    def test_without_the_cross_modal_term(self, make_setting: Any) -> None:
        losses = make_setting("scmd", cross_modal=False, lambda1=0.3).losses()
        expected = losses["cross_entropy"] + 0.3 * losses["logit_distillation"]
        torch.testing.assert_close(losses["loss"], expected)

    def test_focal_loss_in_place_of_cross_entropy(self, make_setting: Any) -> None:
        setting = make_setting("scmd", focal_gamma=2.0, lambda1=0.0, lambda2=0.0)
        p = F.softmax(setting.output().logits, dim=1)[torch.arange(12), setting.labels]
        torch.testing.assert_close(setting.losses()["loss"], -((1 - p) ** 2 * p.log()).mean())

    def test_total_is_the_weighted_sum(self, make_setting: Any) -> None:
        losses = make_setting("scmd", lambda1=0.3, lambda2=2.0).losses()
        expected = (
            losses["cross_entropy"]
            + 0.3 * losses["logit_distillation"]
            + 2.0 * losses["cross_modal"]
        )
        torch.testing.assert_close(losses["loss"], expected)

    def test_projection_is_unit_norm(self, make_setting: Any) -> None:
        setting = make_setting("scmd")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            norms = setting.output().projected.norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms))

    @pytest.mark.parametrize(
        ("value", "expected"), [(-1.0, 0.0), (5.0, 4.6051702), (2.65926, 2.65926)]
    )
    def test_log_scale_is_clamped(self, value: float, expected: float, make_setting: Any) -> None:
        setting = make_setting("scmd")
        assert float(setting.head.log_scale.detach()) == pytest.approx(2.65926, abs=1e-5)
        with torch.no_grad():
            setting.head.log_scale.fill_(value)
        setting.method.after_step(setting.head)
        assert float(setting.head.log_scale.detach()) == pytest.approx(expected, abs=1e-6)

    def test_selection_stops_for_the_last_quarter(self, make_setting: Any) -> None:
        method = make_setting("scmd").method
        assert method.keep_fraction(0, 5000) == 0.2
        assert method.keep_fraction(3750, 5000) == 0.2
        assert method.keep_fraction(3751, 5000) is None
        assert method.keep_fraction(3751, 15000) == 0.2

    def test_authors_hard_coded_length(self, make_setting: Any) -> None:
        assert authors_values(METHODS["scmd"].Hyper) == {
            "projector_init": False,
            "selection_steps": 5000,
        }
        method = make_setting("scmd", selection_steps=5000).method
        assert method.keep_fraction(3750, 15000) == 0.2
        assert method.keep_fraction(3751, 15000) is None

    def test_keeping_everything_needs_no_ranking(self, make_setting: Any) -> None:
        assert make_setting("scmd", worst_case_p=1.0).method.keep_fraction(0, 100) is None

    def test_log_scale_has_its_own_rate(self, make_setting: Any) -> None:
        setting = make_setting("scmd", scale_lr=3e-4)
        groups = setting.method.param_groups(setting.backbone, setting.head)
        assert groups[-1]["name"] == "log_scale"
        assert groups[-1]["lr"] == 3e-4
        assert groups[-1]["params"] == [setting.head.log_scale]


def test_frozen_parameters_are_left_out_of_the_groups(make_setting: Any) -> None:
    setting = make_setting("erm")
    setting.backbone.requires_grad_(False)
    groups = setting.method.param_groups(setting.backbone, setting.head)
    assert [len(g["params"]) for g in groups] == [0, 2]


def test_heads_follow_the_global_seed(make_setting: Any) -> None:
    def weights(head: nn.Module) -> list[float]:
        return torch.cat([p.detach().flatten() for p in head.parameters()]).tolist()

    assert weights(make_setting("scmd").head) == weights(make_setting("scmd").head)


@pytest.mark.parametrize(
    ("trial", "seed", "expected"),
    [
        (0, 1, (0.688043, 0.984035, 0.336482, 0.25, 3.599418, 5e-5, 1e-4)),
        (0, 2, (0.741910, 0.521538, 0.237625, 0.3, 2.974846, 3e-5, 1e-6)),
    ],
)
def test_random_hyper_parameters_are_domainbed_s(
    trial: int, seed: int, expected: tuple[float, ...]
) -> None:
    drawn = METHODS["scmd"].draw_hyperparameters(seed, trial)
    assert drawn is not None and list(drawn.values()) == pytest.approx(expected, abs=5e-7)
    assert METHODS["scmd"].draw_hyperparameters(0, trial) == {}
    assert METHODS["erm"].draw_hyperparameters(seed, trial) is None
