"""The loop: the same bits again, also after a stop, and honest about what it cannot do."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from culprits import raises
from safetensors.torch import save
from torch import nn

from edgedistill.callbacks import Callback, TrainingStep, Validation
from edgedistill.data.images import ImageSet, LabelledImages
from edgedistill.data.views import ViewBatch
from edgedistill.errors import DivergedError, OutputError, TrainingError
from edgedistill.openset.metrics import closed_set_accuracy
from edgedistill.train.batches import Batch
from edgedistill.train.checkpoint import load_checkpoint, save_checkpoint
from edgedistill.train.context import History, Stopped, TrainContext
from edgedistill.train.distributed import ProcessGroup
from edgedistill.train.loop import fit, is_stale
from edgedistill.train.predict import predict
from edgedistill.train.validation import SourceValidation

MakeContext = Callable[..., TrainContext]
# Of the tiny context.
STEPS, CLASSES, WIDTH = 8, 3, 8
RUNS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "scipd, sgd, ema": ("scipd", {}, {"average": "ema", "ema_decay": 0.9}),
    "erm, adam, sma": (
        "erm",
        {},
        {"optimizer": "adam", "lr": 1e-3, "average": "sma", "sma_start": 3},
    ),
    "scmd with selection": ("scmd", {"worst_case_p": 0.5}, {"optimizer": "adamw"}),
    "kd, unlabelled images": ("kd", {}, {"unlabelled": 8, "unlabelled_per_step": 3}),
    "groupdro, weights of the domains": ("groupdro", {"eta": 0.5}, {"balance": "class"}),
    "vrex, a count of steps": ("vrex", {"anneal_steps": 4}, {"average": "ema"}),
    "erm, swad": (
        "erm",
        {},
        {"average": "swad", "swad_start": 2, "swad_end": 2, "eval_every": 2, "lr": 0.05},
    ),
    "mixup": ("mixup", {"alpha": 1.0}, {}),
    "scipd, two optimisers": (
        "scipd",
        {"two_optimizers": True, "double_softmax": True},
        {"replacement": True, "schedule": "hdg", "double_last_decay": True},
    ),
}


class OnStep(Callback):
    """Calls a function with every step."""

    def __init__(self, call: Callable[[TrainingStep], None]) -> None:
        self.on_step = call  # type: ignore[method-assign]


def weights(context: TrainContext) -> bytes:
    return save({k: v.contiguous() for k, v in context.student.state_dict().items()})


def trained(path: Path, make: Callable[[], TrainContext]) -> tuple[bytes, History]:
    context = make()
    history, _ = fit(context, path, Callback())
    return weights(context), history


def stop_at(step: int, number: int) -> Callback:
    def send(moment: TrainingStep) -> None:
        if moment.step == step:
            os.kill(os.getpid(), number)

    return OnStep(send)


def test_without_steps_the_start_weights_are_validated_and_selected(
    tmp_path: Path, tiny_context: MakeContext
) -> None:
    context = tiny_context(steps=0)
    before, logged = weights(context), []
    history, _ = fit(context, tmp_path / "a", Callback(), lambda rows: logged.append(list(rows)))
    assert weights(context) == before
    assert [row["step"] for row in history] == [0] and logged == [history]
    assert 0 <= history[0]["val_accuracy"] <= 1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, tiny_context: MakeContext) -> None:
    first = trained(tmp_path / "a", tiny_context)
    assert first == trained(tmp_path / "b", tiny_context)
    assert first[0] != trained(tmp_path / "c", lambda: tiny_context(seed=1))[0]


def test_half_precision_trains_to_the_same_bytes_each_time(
    tmp_path: Path, tiny_context: MakeContext
) -> None:
    first, again, whole = (
        trained(tmp_path / name, lambda p=precision: tiny_context("scmd", precision=p))
        for name, precision in (("a", "bf16"), ("b", "bf16"), ("c", "fp32"))
    )
    assert first == again and first[0] != whole[0]
    assert first[1][-1]["loss"] == pytest.approx(whole[1][-1]["loss"], rel=0.05)


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGINT), (5, signal.SIGTERM), (STEPS, signal.SIGINT)]
)
def test_stopped_and_resumed_equals_uninterrupted(
    tmp_path: Path, kind: str, step: int, number: int, tiny_context: MakeContext
) -> None:
    name, hyper, settings = RUNS[kind]

    def make() -> TrainContext:
        return tiny_context(name, hyper, **settings)

    handler = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped at step {step} of {STEPS}"):
        fit(make(), tmp_path / "cut", stop_at(step, number))
    assert signal.getsignal(number) is handler
    saved = load_checkpoint(tmp_path / "cut")
    assert saved is not None and saved["step"] == step
    resumed = trained(tmp_path / "cut", make)
    assert resumed == trained(tmp_path / "whole", make)


def test_stopping_twice_is_no_different(tmp_path: Path, tiny_context: MakeContext) -> None:
    for step in (2, 4):
        with pytest.raises(Stopped):
            fit(tiny_context(), tmp_path / "cut", stop_at(step, signal.SIGINT))
    assert trained(tmp_path / "cut", tiny_context) == trained(tmp_path / "whole", tiny_context)


def test_a_second_signal_does_what_it_did_before(tmp_path: Path, tiny_context: MakeContext) -> None:
    def twice(moment: TrainingStep) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(tiny_context(), tmp_path / "cut", OnStep(twice))


def test_a_finished_run_is_not_trained_again(tmp_path: Path, tiny_context: MakeContext) -> None:
    whole = trained(tmp_path / "x", tiny_context)
    context = tiny_context()
    steps: list[int] = []
    history, seconds = fit(
        context, tmp_path / "x", OnStep(lambda moment: steps.append(moment.step))
    )
    assert steps == [] and seconds > 0
    assert (weights(context), history) == whole


def test_the_history_has_a_row_per_validation(tmp_path: Path, tiny_context: MakeContext) -> None:
    lengths: list[int] = []
    context = tiny_context("scmd", {"worst_case_p": 0.5})
    history, _ = fit(context, tmp_path / "x", Callback(), lambda h: lengths.append(len(h)))
    assert [row["step"] for row in history] == [3, 6, 8]
    assert lengths == [1, 2, 3]
    losses = {"loss", "cross_entropy", "logit_distillation", "cross_modal"}
    assert set(history[0]) == {"step", "lr", "val_accuracy", *losses}
    assert all(np.isfinite(list(row.values())).all() for row in history)


@pytest.mark.parametrize("average", ["none", "ema"])
def test_the_best_validation_is_selected_and_of_ties_the_latest(
    tmp_path: Path, average: str, tiny_context: MakeContext
) -> None:
    # A huge step size makes accuracy jump about.
    context = tiny_context("erm", steps=12, eval_every=1, lr=0.5, average=average)
    states: list[dict[str, Any]] = []
    if average == "none":

        def log(history: History) -> None:
            weights = context.student.state_dict()
            states.append({k: v.clone() for k, v in weights.items()})
    else:
        log = lambda history: None  # noqa: E731
    history, _ = fit(context, tmp_path / "x", Callback(), log)
    accuracies = [row["val_accuracy"] for row in history]
    assert len(set(accuracies)) > 1
    outputs = predict(
        context.student,
        context.validator.openset,
        context.validator.images,
        device=context.device,
    )
    assert closed_set_accuracy(outputs.predictions, outputs.labels) == max(accuracies)
    if average == "none":
        latest = max(i for i, a in enumerate(accuracies) if a == max(accuracies))
        chosen = context.student.state_dict()
        assert all(torch.equal(chosen[k], v) for k, v in states[latest].items())


def test_of_equally_good_weights_the_first_may_ship(
    tmp_path: Path, tiny_context: MakeContext
) -> None:
    # One image and tiny steps: every validation is the same, the weights are not.
    context = tiny_context("erm", steps=4, eval_every=1, lr=1e-5, ties="first")
    context = replace(
        context,
        validator=SourceValidation(
            context.validator.openset,
            LabelledImages(
                ImageSet.from_array(context.validator.images.images[:1]),
                context.validator.images.labels[:1],
                (np.zeros(1, np.int64),),
            ),
        ),
    )
    states: list[dict[str, Any]] = []
    history, _ = fit(
        context,
        tmp_path / "x",
        Callback(),
        lambda h: states.append({k: v.clone() for k, v in context.student.state_dict().items()}),
    )
    accuracies = [row["val_accuracy"] for row in history]
    first = accuracies.index(max(accuracies))
    chosen = context.student.state_dict()
    assert all(torch.equal(chosen[k], v) for k, v in states[first].items())
    assert not all(torch.equal(chosen[k], v) for k, v in states[-1].items())


def test_callbacks_hear_of_steps_terms_rate_and_validations(
    tmp_path: Path, tiny_context: MakeContext
) -> None:
    events: list[TrainingStep | Validation] = []

    class Recorder(Callback):
        def on_step(self, step: TrainingStep) -> None:
            events.append(step)

        def on_validation(self, validation: Validation) -> None:
            events.append(validation)

    history, _ = fit(tiny_context(), tmp_path / "x", Recorder())
    steps = [event for event in events if isinstance(event, TrainingStep)]
    assert [step.step for step in steps] == list(range(1, STEPS + 1))
    assert all(step.images_per_second > 0 and step.total == STEPS for step in steps)
    assert set(steps[0].losses) == {"loss", "classification", "class_perturbation"}
    validations = [event for event in events if isinstance(event, Validation)]
    assert [dict(event.row) for event in validations] == history
    assert [event.accuracy for event in validations] == [row["val_accuracy"] for row in history]
    # A validation comes before the step that it follows.
    after = [events[events.index(event) + 1] for event in validations]
    assert [event.step for event in after] == [event.step for event in validations] == [3, 6, 8]


class TestDivergence:
    @pytest.mark.parametrize("eval_every", [1, 50])
    def test_names_step_and_images_and_keeps_a_good_checkpoint(
        self, tmp_path: Path, eval_every: int, tiny_context: MakeContext
    ) -> None:
        make = lambda lr: tiny_context(  # noqa: E731
            "erm", steps=50, lr=lr, warmup_steps=0, eval_every=eval_every, checkpoint_every=1
        )
        with pytest.raises(Stopped):
            fit(make(0.01), tmp_path / "c", stop_at(2, signal.SIGINT))
        with raises(DivergedError, "step", "train.lr") as caught:
            fit(make(1e30), tmp_path / "d", Callback())
        message = str(caught.value)
        step = int(message.split()[1].rstrip(":"))
        drawn = {f"d{i % 2}/c{i % CLASSES}/{i}.png" for i in range(16)}
        named = message.split("batch: ")[1].split(", ")
        assert set(named) <= drawn and len(named) == 8
        saved = load_checkpoint(tmp_path / "d")
        if saved is not None:
            assert saved["step"] < step
            assert all(torch.isfinite(t).all() for t in saved["student"].values())

    def test_a_long_list_of_images_goes_to_a_file(
        self, tmp_path: Path, tiny_context: MakeContext
    ) -> None:
        context = tiny_context("erm", lr=1e30, warmup_steps=0, batch_per_domain=8)
        with raises(DivergedError, "4 more", tmp_path / "diverged.txt"):
            fit(context, tmp_path / "c", Callback())
        lines = (tmp_path / "diverged.txt").read_text().splitlines()
        assert sorted(lines) == sorted(context.images.images.paths[:16])

    def test_names_images_without_a_label_by_their_folder(
        self, tmp_path: Path, tiny_context: MakeContext
    ) -> None:
        context = tiny_context(
            "kd", lr=1e30, warmup_steps=0, batch_per_domain=2, unlabelled=3, unlabelled_per_step=3
        )
        with raises(DivergedError, *(f"/pool/any/{number}.png" for number in range(3))):
            fit(context, tmp_path / "c", Callback())

    def test_broken_pixels_of_a_teacher_stop_at_their_step(
        self, tmp_path: Path, tiny_context: MakeContext
    ) -> None:
        context = tiny_context()
        calls: list[int] = []

        def teacher_fn(batch: Batch, views: ViewBatch, rows: torch.Tensor | None) -> torch.Tensor:
            calls.append(1)
            embeddings = torch.nn.functional.normalize(
                torch.ones(len(batch.positions), WIDTH), dim=1
            )
            return embeddings * torch.nan if len(calls) == 5 else embeddings

        with raises(DivergedError, "step 5", "loss"):
            fit(replace(context, teacher_fn=teacher_fn), tmp_path / "c", Callback())
        saved = load_checkpoint(tmp_path / "c")
        assert saved is not None and saved["step"] == 4


def test_a_single_image_that_batch_norm_cannot_take(
    tmp_path: Path, tiny_context: MakeContext
) -> None:
    context = tiny_context("scmd", {"worst_case_p": 0.1}, batch_per_domain=2)
    # On feature maps of one pixel a single image has no variance.
    context.student.backbone.append(nn.BatchNorm1d(6))
    with raises(TrainingError, "train.batch_per_domain", "batch norm"):
        fit(context, tmp_path / "c", Callback())


class TestCheckpoints:
    def test_of_another_student(self, tmp_path: Path, tiny_context: MakeContext) -> None:
        trained(tmp_path / "c", tiny_context)
        for other in (tiny_context("erm"), tiny_context(average="ema")):
            with raises(TrainingError, tmp_path / "c", "student"):
                fit(other, tmp_path / "c", Callback())

    @pytest.mark.parametrize("content", [{}, {"step": 3}, torch.zeros(3), [1, 2]])
    def test_of_something_else(
        self, tmp_path: Path, content: Any, tiny_context: MakeContext
    ) -> None:
        torch.save(content, tmp_path / "c")
        with raises(TrainingError, tmp_path / "c"):
            fit(tiny_context(), tmp_path / "c", Callback())

    def test_damaged(self, tmp_path: Path, tiny_context: MakeContext) -> None:
        trained(tmp_path / "c", tiny_context)
        whole = (tmp_path / "c").read_bytes()
        for part in (b"", b"x", b"\x80", whole[:50], whole[: len(whole) // 2], whole[:-1]):
            (tmp_path / "c").write_bytes(part)
            with raises(TrainingError, tmp_path / "c", "damaged"):
                fit(tiny_context(), tmp_path / "c", Callback())

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        class Code:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return (open, (str(tmp_path / "ran"), "w"))

        torch.save(Code(), tmp_path / "zip")
        (tmp_path / "plain").write_bytes(pickle.dumps(Code()))
        for name in ("zip", "plain"):
            with raises(TrainingError, tmp_path / name, "damaged"):
                load_checkpoint(tmp_path / name)
        assert not (tmp_path / "ran").exists()

    def test_a_full_disk_keeps_the_old_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_checkpoint(tmp_path / "c", {"step": 1})

        def full(state: object, file: BinaryIO) -> None:
            file.write(b"part")
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError:
                # What torch's zip writer makes of it.
                raise RuntimeError("[enforce fail at inline_container.cc]\nmore")  # noqa: B904

        monkeypatch.setattr(torch, "save", full)
        with raises(OutputError, tmp_path / "c", os.strerror(errno.ENOSPC)):
            save_checkpoint(tmp_path / "c", {"step": 2})
        assert load_checkpoint(tmp_path / "c") == {"step": 1}
        assert [p.name for p in tmp_path.iterdir()] == ["c"]

    def test_the_teacher_is_not_in_it(self, tmp_path: Path, tiny_context: MakeContext) -> None:
        context = tiny_context()
        trained(tmp_path / "c", lambda: context)
        saved = load_checkpoint(tmp_path / "c")
        assert saved is not None
        assert set(saved["student"]) == set(context.student.state_dict())


def test_predict_takes_read_only_bytes_without_a_warning(
    recwarn: pytest.WarningsRecorder, tiny_context: MakeContext
) -> None:
    context = tiny_context("scmd")
    pixels = context.validator.images.images[:].copy()
    pixels.flags.writeable = False
    labelled = replace(context.validator.images, images=ImageSet.from_array(pixels))
    result = predict(
        context.student,
        context.validator.openset,
        labelled,
        device=context.device,
        batch=3,
    )
    assert result.probabilities.classes == CLASSES and result.scores.shape == (8,)
    assert context.student.training
    assert not recwarn.list


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
def test_a_compiled_run_gives_the_same_bytes_again_also_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_context: MakeContext
) -> None:
    # Nothing is left of an earlier compilation, and no pool of processes is started for it.
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    # Selection, whose forward pass has another shape, ends half-way.
    hyper = {"worst_case_p": 0.5, "last_k": 0.5}

    def make(compiled: bool = True) -> TrainContext:
        return tiny_context("scmd", hyper, compile=compiled)

    whole = trained(tmp_path / "whole", make)
    torch.compiler.reset()
    with pytest.raises(Stopped):
        fit(make(), tmp_path / "cut", stop_at(6, signal.SIGINT))
    torch.compiler.reset()
    assert trained(tmp_path / "cut", make) == whole
    _, eager = trained(tmp_path / "eager", lambda: make(False))
    # Dropout draws other numbers.
    assert eager[0]["loss"] == pytest.approx(whole[1][0]["loss"], rel=0.5)


def test_compilation_is_for_one_process(tmp_path: Path, tiny_context: MakeContext) -> None:
    context = replace(tiny_context(compile=True), processes=ProcessGroup(rank=0, size=2))
    with raises(TrainingError, "train.compile", "one process"):
        fit(context, tmp_path / "c", Callback())


@pytest.mark.parametrize(
    ("accuracies", "patience", "stale"),
    [
        ([], 1, False),
        ([0.5], 1, False),
        ([0.5, 0.6], 1, False),
        ([0.5, 0.5], 1, True),
        ([0.6, 0.5, 0.6], 2, True),
        ([0.6, 0.5, 0.7], 2, False),
        ([0.6, 0.5, 0.5, 0.5], 0, False),
    ],
)
def test_a_history_without_a_better_validation_is_stale(
    accuracies: list[float], patience: int, stale: bool
) -> None:
    assert is_stale(accuracies, patience) is stale


def test_training_ends_early_and_ships_the_best(tmp_path: Path, tiny_context: MakeContext) -> None:
    # Too small a rate to change an answer: the second pass is no better than the first.
    context = tiny_context("erm", steps=12, eval_every=2, lr=1e-12, patience=2)
    history, _ = fit(context, tmp_path / "x", Callback())
    assert [row["step"] for row in history] == [2, 4, 6]
    steps: list[int] = []
    again, _ = fit(context, tmp_path / "x", OnStep(lambda moment: steps.append(moment.step)))
    assert (steps, again) == ([], history)
