"""A step never waits for the device: on torch's meta device, whoever reads a value fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from edgedistill.data.images import LabelledImages
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.data.views import ViewBatch
from edgedistill.methods import METHODS
from edgedistill.methods.base import SourceRows
from edgedistill.methods.coral import CORAL
from edgedistill.methods.kd import KD
from edgedistill.methods.mixup import Mixup
from edgedistill.students import Student
from edgedistill.teacher.open_clip import Teacher
from edgedistill.train import step
from edgedistill.train.batches import Batch
from edgedistill.train.context import TrainContext
from edgedistill.train.optim import build_optimizers
from edgedistill.train.step import batch_of, train_step

META = torch.device("meta")
MakeMeta = Callable[..., tuple[TrainContext, list[Optimizer]]]


@pytest.fixture
def on_meta(tiny_context: Callable[..., TrainContext], monkeypatch: pytest.MonkeyPatch) -> MakeMeta:
    """A context on the meta device, its teacher given as a function, and its optimizers."""
    # Autocast knows no meta device; it is off here anyway.
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())

    def make(
        name: str, teacher_fn: Callable[[Batch, ViewBatch, Tensor | None], Tensor]
    ) -> tuple[TrainContext, list[Optimizer]]:
        hyper = {"worst_case_p": 0.5} if name == "scmd" else {}
        context = tiny_context(name, hyper)
        assert context.method.text is not None
        text = context.method.text.to(META)
        context = replace(
            context,
            device=META,
            student=context.student.to(META),
            method=METHODS[name](METHODS[name].Hyper(**hyper), text=text),
            text=text,
            teacher_fn=teacher_fn if context.method.needs_teacher else None,
        )
        groups = context.method.param_groups(context.student.backbone, context.student.head)
        return context, build_optimizers(groups, "sgd", lr=0.1)

    return make


def off() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_reads_nothing_back(name: str, on_meta: MakeMeta) -> None:
    seen: list[Tensor | None] = []

    def teacher_fn(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        seen.append(rows)
        embeddings = torch.empty(len(batch), 8, device=META)
        return embeddings if rows is None else embeddings[rows]

    context, optimizers = on_meta(name, teacher_fn)
    losses = train_step(context, context.student, optimizers, off(), 0)
    assert {value.device for value in losses.values()} == {META}
    if context.teacher_fn is not None:
        (rows,) = seen
        assert (rows is not None) == (name == "scmd")
    with pytest.raises(RuntimeError, match="meta"):
        losses["loss"].item()


class Copies(TorchDispatchMode):
    """Notes operations that take a tensor of the host and give one on the device."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # A number makes a tensor without dimensions, which kernels take as an argument.
        of_host = any(isinstance(a, Tensor) and a.device.type == "cpu" and a.dim() for a in args)
        if of_host and isinstance(result, Tensor) and result.device == META:
            self.sent.append(str(func))
        return result


class Constructions(TorchFunctionMode):
    """Notes tensors made on the device from Python values: not every torch dispatches these."""

    def __init__(self, sent: list[str]) -> None:
        super().__init__()
        self.sent = sent

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        constructors = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
        if func in constructors and result.device == META:
            self.sent.append(func.__name__)
        return result


@contextmanager
def copies_to_device() -> Iterator[list[str]]:
    """What sends values of the host to the device: there the host waits for it."""
    sent: list[str] = []
    with Copies(sent), Constructions(sent):
        yield sent


def test_what_is_sent_is_noticed() -> None:
    with copies_to_device() as sent:
        torch.tensor([1.0, 2.0], device=META)
        torch.ones(2, device=META).new_tensor([1.0])
        torch.ones(2).to(META)
        torch.empty(2, device=META).copy_(torch.ones(2))
        torch.ones(2, device=META).mul_(3).clamp_(0, 1)
        torch.eye(3, device=META)
    assert len(sent) == 4


class Averages(nn.Module):
    """As wide as the context's texts, of three channels."""

    def encode_image(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).repeat(1, 3)[:, :8]


@pytest.mark.parametrize("name", METHODS)
def test_a_step_sends_its_batch_and_nothing_else(
    name: str, on_meta: MakeMeta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants are on the device from the first step on, the teacher's too."""

    def pinned(array: np.ndarray, device: torch.device) -> Tensor:
        # On a GPU the host does not wait for these.
        return torch.empty(array.shape, dtype=torch.from_numpy(array[:0]).dtype, device=device)

    monkeypatch.setattr(step, "to_device", pinned)
    teacher = Teacher(Averages(), None, "", "", 6, 8, IMAGENET_MEAN, IMAGENET_STD, 20.0, META)

    def teacher_fn(batch: Batch, views: ViewBatch, rows: Tensor | None) -> Tensor:
        return teacher.encode_images(views.render(teacher.size, rows))

    context, optimizers = on_meta(name, teacher_fn)
    train_step(context, context.student, optimizers, off(), 0)
    with copies_to_device() as sent:
        train_step(context, context.student, optimizers, off(), 1)
    assert sent == []


def test_a_recipe_balances_the_classes_of_every_batch(
    tiny_context: Callable[..., TrainContext],
) -> None:
    context = tiny_context(balance="class", batch_per_domain=6)
    images = context.images
    # The first domain is left with one image of class 0 and eight of the others.
    of_first = images.domains[0]
    rare = of_first[images.labels[of_first] == 0][:1]
    first = np.concatenate([rare, of_first[images.labels[of_first] != 0]])
    images = LabelledImages(images.images, images.labels, (first, images.domains[1]))
    context = replace(context, images=images)
    for number in range(4):
        positions = batch_of(context, number).positions
        for part in (positions[:6], positions[6:]):
            assert np.bincount(images.labels[part]).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("per_optimizer", "rates"), [(False, [1.0, 0.1, 0.001]), (True, [1.0, 0.01, 1e-6])]
)
def test_two_optimizers_that_share_their_groups_decay_twice(
    per_optimizer: bool, rates: list[float], tiny_context: Callable[..., TrainContext]
) -> None:
    """Of twelve epochs of ten steps the authors' decays come after 9 and 11."""
    context = tiny_context(
        "scipd",
        {"two_optimizers": True},
        steps=120,
        eval_every=10,
        schedule="hdg",
        warmup_steps=0,
        double_last_decay=True,
        decay_after_epochs=True,
        decay_per_optimizer=per_optimizer,
    )
    groups = context.method.param_groups(context.student.backbone, context.student.head)
    optimizers = build_optimizers(groups, "sgd", lr=0.001, count=2)
    for at, rate in zip((89, 90, 110), rates, strict=True):
        train_step(context, context.student, optimizers, off(), at)
        for optimizer in optimizers:
            ratios = [group["lr"] / 0.001 for group in optimizer.param_groups]
            assert ratios == pytest.approx([rate, 5 * rate])


@pytest.mark.parametrize("balance", ["none", "class"])
def test_the_labelled_batch_is_the_same_with_and_without_unlabelled_images(
    tiny_context: Callable[..., TrainContext], balance: str
) -> None:
    plain = tiny_context("kd", balance=balance)
    context = tiny_context("kd", balance=balance, unlabelled=8, unlabelled_per_step=5)
    for number in range(4):
        alone, batch = batch_of(plain, number), batch_of(context, number)
        assert np.array_equal(batch.positions[:-5], alone.positions)
        assert np.array_equal(batch.views[:-5], alone.views)
        assert set(batch.positions[-5:]) <= set(range(16, 24))


class HardestHalf(KD):
    """KD on the harder half of the images that have a label."""

    def keep_fraction(self, step: int, total_steps: int) -> float:
        return 0.5


@pytest.mark.parametrize("kind", [KD, HardestHalf])
def test_every_unlabelled_image_of_a_batch_is_learned_from(
    tiny_context: Callable[..., TrainContext], kind: type[KD]
) -> None:
    seen: list[tuple[list[int], int]] = []

    class Recorded(kind):  # type: ignore[misc, valid-type]
        def compute_losses(
            self, head: Any, out: Any, labels: Tensor, teacher_outputs: Any
        ) -> dict[str, Tensor]:
            seen.append((labels.tolist(), len(teacher_outputs.image)))
            losses: dict[str, Tensor] = super().compute_losses(head, out, labels, teacher_outputs)
            return losses

    context = tiny_context("kd", unlabelled=8, unlabelled_per_step=3)
    context = replace(context, method=Recorded(context.method.hyper, text=context.text))
    groups = context.method.param_groups(context.student.backbone, context.student.head)
    losses = train_step(context, context.student, build_optimizers(groups, "sgd", lr=0.1), off(), 0)
    ((labels, rows),) = seen
    labelled = 4 if kind is HardestHalf else 8
    assert rows == len(labels) == labelled + 3
    assert labels[labelled:] == [-1] * 3 and min(labels[:labelled]) >= 0
    assert torch.isfinite(losses["loss"])


class Recorded(nn.Module):
    """A context's student; notes what it was given."""

    def __init__(self, context: TrainContext) -> None:
        super().__init__()
        self.student, self.inputs = context.student, []

    def forward(self, x: Tensor) -> Any:
        self.inputs.append(x.detach().clone())
        return self.student(x)


def test_a_method_that_mixes_gets_the_blends_and_their_partners(
    tiny_context: Callable[..., TrainContext],
) -> None:
    given: list[Any] = []

    class Noted(Mixup):
        def compute_domain_losses(
            self, head: Any, out: Any, labels: Tensor, rows: SourceRows
        ) -> dict[str, Tensor]:
            given.append((labels, rows))
            return super().compute_domain_losses(head, out, labels, rows)

    inputs = []
    for name in ("erm", "mixup"):
        context = tiny_context(name, {"alpha": 1.0} if name == "mixup" else {})
        if name == "mixup":
            context = replace(context, method=Noted(context.method.hyper, text=None))
        forward = Recorded(context)
        groups = context.method.param_groups(context.student.backbone, context.student.head)
        train_step(context, forward, build_optimizers(groups, "sgd", lr=0.1), off(), 3)
        inputs += forward.inputs
    plain, mixed = inputs
    ((labels, rows),) = given
    positions = batch_of(context, 3).positions
    assert labels.tolist() == context.images.labels[positions].tolist()
    assert rows.domains.tolist() == [0] * 4 + [1] * 4 and rows.num_domains == 2
    assert rows.partners is not None and rows.shares is not None
    assert rows.partners.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    shares = rows.shares[:, None, None, None]
    torch.testing.assert_close(mixed, shares * plain + (1 - shares) * plain[rows.partners])
    assert not torch.allclose(mixed, plain, atol=0.01)


@pytest.mark.parametrize("balance", ["none", "class"])
def test_a_row_has_the_domain_of_its_image(
    tiny_context: Callable[..., TrainContext], balance: str
) -> None:
    given: list[tuple[Tensor, SourceRows]] = []

    class Hardest(CORAL):
        """Keeps the harder rows, in the order of their loss."""

        def keep_fraction(self, step: int, total_steps: int) -> float:
            return 0.75

        def compute_domain_losses(
            self, head: Any, out: Any, labels: Tensor, rows: SourceRows
        ) -> dict[str, Tensor]:
            given.append((labels, rows))
            return super().compute_domain_losses(head, out, labels, rows)

    context = tiny_context("coral", balance=balance)
    # Every label is a position now, so a row says which image it is.
    images = context.images
    numbered = LabelledImages(images.images, np.arange(len(images)), images.domains)
    student = Student(context.student.backbone, context.method.head(6, len(images)))
    context = replace(
        context,
        images=numbered,
        student=student,
        method=Hardest(context.method.hyper, text=None),
    )
    groups = context.method.param_groups(student.backbone, student.head)
    train_step(context, student, build_optimizers(groups, "sgd", lr=0.1), off(), 0)
    ((labels, rows),) = given
    assert len(labels) == 6
    assert rows.domains.tolist() == (labels % 2).tolist()
