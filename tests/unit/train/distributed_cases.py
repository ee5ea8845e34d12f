"""Several processes train as one does, and end together whatever ends one of them."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import nn

from edgedistill.callbacks import Callback
from edgedistill.data.views import ViewBatch
from edgedistill.errors import EdgeDistillError, Interrupted, TrainingError
from edgedistill.train.batches import Batch
from edgedistill.train.checkpoint import load_checkpoint
from edgedistill.train.context import Stopped, TrainContext
from edgedistill.train.distributed import ProcessGroup, init_distributed
from edgedistill.train.loop import fit
from edgedistill.train.predict import predict
from edgedistill.train.synced_norm import synchronize_cpu_norms
from edgedistill.train.wise_ft import ship_interpolated, snapshot

Work = Callable[[ProcessGroup], None]


class Processes:
    """Forks that meet through a store of ours, on a port that the system chose."""

    def __init__(self) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def __call__(self, size: int, work: Work) -> list[int]:
        """Run in `size` processes; their exit statuses, by rank."""
        pids = [self._fork(rank, size, work) for rank in range(size)]
        return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]

    def _fork(self, rank: int, size: int, work: Work) -> int:
        pid = os.fork()
        if pid:
            return pid
        # Only for a bug in what is tested: a process that waits for ever says where, and ends.
        faulthandler.dump_traceback_later(900, exit=True)
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",
            "RANK": str(rank),
            "WORLD_SIZE": str(size),
            "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        }
        status = 1
        try:
            with init_distributed() as processes:
                work(processes)
            status = 0
        except EdgeDistillError as error:
            print(error, file=sys.stderr)
            status = 2
        except Interrupted:
            status = 130
        except SystemExit as stop:
            status = int(str(stop.code))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


@pytest.fixture
def together() -> Processes:
    return Processes()


@pytest.fixture(scope="module")
def make_task(tiny_context: Callable[..., TrainContext]) -> Callable[..., TrainContext]:
    """The tiny context without dropout, which differs by process."""

    def make(*args: Any, **settings: Any) -> TrainContext:
        context = tiny_context(*args, **settings)
        context.student.backbone[3] = nn.Identity()
        return context

    return make


def probabilities(context: TrainContext) -> np.ndarray:
    result = predict(
        context.student,
        context.validator.openset,
        context.validator.images,
        device=context.device,
    )
    return np.stack([result.probabilities.highest, result.probabilities.lowest, result.scores])


def trained(context: TrainContext, folder: Path) -> None:
    fit(context, folder / "checkpoint.pt", Callback())


KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any], int]] = {
    "erm, sma": ("erm", {}, {"average": "sma", "sma_start": 3}, 2),
    "kd": ("kd", {}, {}, 2),
    "rkd, relations across processes": ("rkd", {}, {}, 2),
    "crd, maps of its own": ("crd", {"width": 4}, {}, 2),
    "fitnet, a regressor of its own": ("fitnet", {}, {}, 2),
    "rise": ("rise", {}, {}, 2),
    "clipbase": ("clipbase", {}, {}, 2),
    "scipd, shares of three sizes": ("scipd", {}, {"average": "ema", "ema_decay": 0.9}, 3),
    "scipd, two optimisers": ("scipd", {"two_optimizers": True}, {"replacement": True}, 2),
    "scmd, selection": ("scmd", {"worst_case_p": 0.6}, {}, 2),
    "ovd, unlabelled images": (
        "ovd",
        {"kd_weight": 0.5, "contrast_weight": 0.5},
        {"unlabelled": 8, "unlabelled_per_step": 5},
        3,
    ),
    "scmd, an untrained projection": (
        "scmd",
        {"worst_case_p": 0.6, "cross_modal": False, "focal_gamma": 2.0},
        {},
        2,
    ),
    "erm, swad": ("erm", {}, {"average": "swad", "swad_start": 2, "eval_every": 2}, 2),
    "coral": ("coral", {}, {}, 2),
    "mmd, kernels across processes": ("mmd", {}, {}, 2),
    "groupdro, weights of its own": ("groupdro", {"eta": 0.5}, {"average": "ema"}, 2),
    "vrex": ("vrex", {"weight": 3.0, "anneal_steps": 3}, {}, 2),
    "rsc, quantiles across processes": ("rsc", {}, {}, 2),
    "arpl": ("arpl", {}, {}, 2),
    "mixup, partners in other processes": ("mixup", {"alpha": 1.0}, {}, 3),
    "kd, unlabelled images": ("kd", {}, {"unlabelled": 8, "unlabelled_per_step": 5}, 3),
}


# Their losses meet other processes' rows as those of a fast case do.
ALIKE = (
    "kd",
    "fitnet, a regressor of its own",
    "rise",
    "clipbase",
    "scmd, an untrained projection",
    "coral",
    "vrex",
    "rsc, quantiles across processes",
    "arpl",
)


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k in ALIKE else ()) for k in KINDS]
)
def test_several_processes_end_where_one_does(
    tmp_path: Path, make_task: Callable[..., TrainContext], together: Processes, kind: str
) -> None:
    name, hyper, settings, size = KINDS[kind]

    def work(processes: ProcessGroup) -> None:
        context = replace(make_task(name, hyper, **settings), processes=processes)
        trained(context, tmp_path / "many")
        np.save(tmp_path / f"{processes.rank}.npy", probabilities(context))

    (tmp_path / "many").mkdir()
    (tmp_path / "one").mkdir()
    assert together(size, work) == [0] * size
    alone = make_task(name, hyper, **settings)
    start = probabilities(alone)
    trained(alone, tmp_path / "one")
    outputs = [np.load(tmp_path / f"{rank}.npy") for rank in range(size)]
    assert all(np.array_equal(outputs[0], other) for other in outputs)
    expected = probabilities(alone)
    assert np.abs(expected - start).max() > 1e-2
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-3, atol=1e-3)
    one, many = (load_checkpoint(tmp_path / f / "checkpoint.pt") for f in ("one", "many"))
    assert one is not None and many is not None
    assert [row["step"] for row in one["history"]] == [row["step"] for row in many["history"]]
    for ours, theirs in zip(many["history"], one["history"], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_what_one_process_measured_of_the_teacher_is_known_to_all(
    tmp_path: Path, together: Processes
) -> None:
    right, images = torch.tensor([[9, 4, 7], [10, 10, 10]])

    def work(processes: ProcessGroup) -> None:
        counts = torch.zeros(2, 3, dtype=torch.int64)
        if processes.rank == 0:
            counts = torch.stack([right, images])
        received = processes.broadcast_tensor(counts)
        np.save(tmp_path / f"{processes.rank}.npy", received.numpy())

    assert together(2, work) == [0, 0]
    for rank in range(2):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == [right.tolist(), images.tolist()]


def test_several_processes_ship_the_same_weights_between_start_and_end(
    tmp_path: Path, make_task: Callable[..., TrainContext], together: Processes
) -> None:
    def work(processes: ProcessGroup) -> None:
        context = replace(make_task("ovd"), processes=processes)
        start = snapshot(context.student)
        trained(context, tmp_path)
        interpolation = ship_interpolated(context, start, "validation")
        shares = np.full((1, 8), interpolation.share)
        np.save(tmp_path / f"{processes.rank}.npy", np.vstack([probabilities(context), shares]))

    assert together(2, work) == [0, 0]
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_batch_norm_is_over_all_processes(
    kind: type[nn.BatchNorm2d], tmp_path: Path, together: Processes
) -> None:
    torch.manual_seed(0)
    x, upstream = torch.randn(2, 5, 3, 4, 4).unbind()
    plain = kind(3)
    nn.init.normal_(plain.weight)
    whole = x.clone().requires_grad_()
    (plain(whole) * upstream).sum().backward()
    assert whole.grad is not None and plain.weight.grad is not None

    def work(processes: ProcessGroup) -> None:
        norm = kind(3)
        synchronize_cpu_norms(norm)
        norm.load_state_dict({**kind(3).state_dict(), "weight": plain.weight.detach()})
        rows = processes.shard(5)
        own = x[rows].clone().requires_grad_()
        out = norm(own)
        (out * upstream[rows]).sum().backward()
        assert own.grad is not None and norm.weight.grad is not None
        torch.testing.assert_close(own.grad, whole.grad[rows], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_mean, plain.running_mean)
        torch.testing.assert_close(norm.running_var, plain.running_var)
        # Shares of a gradient: DistributedDataParallel adds them up.
        total = norm.weight.grad.clone()
        dist.all_reduce(total)
        torch.testing.assert_close(total, plain.weight.grad, rtol=1e-4, atol=1e-5)
        norm.eval()
        torch.testing.assert_close(norm(own), plain.eval()(x[rows]))
        plain.train()

    assert together(2, work) == [0, 0]


def test_a_norm_that_would_not_be_joined_is_refused() -> None:
    with pytest.raises(TrainingError, match="BatchNorm1d"):
        synchronize_cpu_norms(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))


def test_a_signal_to_one_stops_all_at_the_same_step_and_they_resume(
    tmp_path: Path, make_task: Callable[..., TrainContext], together: Processes
) -> None:
    def whole(processes: ProcessGroup) -> None:
        context = replace(make_task(), processes=processes)
        trained(context, tmp_path / "whole")
        np.save(tmp_path / "whole.npy", probabilities(context))

    def cut(processes: ProcessGroup) -> None:
        context = make_task()
        embeddings = context.teacher_fn
        assert embeddings is not None
        calls: list[int] = []

        def teacher_fn(batch: Batch, views: ViewBatch, rows: torch.Tensor | None) -> torch.Tensor:
            calls.append(1)
            if processes.rank == 1 and len(calls) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return embeddings(batch, views, rows)

        try:
            trained(replace(context, processes=processes, teacher_fn=teacher_fn), tmp_path / "cut")
        except Stopped as stopped:
            (tmp_path / f"{processes.rank}.txt").write_text(str(stopped))

    def resume(processes: ProcessGroup) -> None:
        context = replace(make_task(), processes=processes)
        trained(context, tmp_path / "cut")
        np.save(tmp_path / "cut.npy", probabilities(context))

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    for work in (whole, cut, resume):
        # Each needs names of its own in the store.
        assert Processes()(2, work) == [0, 0]
        if work is cut:
            messages = {(tmp_path / f"{rank}.txt").read_text() for rank in range(2)}
            assert messages == {"stopped at step 4 of 8"}
    assert np.array_equal(np.load(tmp_path / "whole.npy"), np.load(tmp_path / "cut.npy"))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("how", ["error", "kill"])
def test_what_ends_one_ends_all_and_is_said_once(
    tmp_path: Path,
    make_task: Callable[..., TrainContext],
    together: Processes,
    capfd: pytest.CaptureFixture[str],
    rank: int,
    how: str,
) -> None:
    def work(processes: ProcessGroup) -> None:
        context = make_task()
        calls: list[int] = []

        def teacher_fn(batch: Batch, views: ViewBatch, rows: torch.Tensor | None) -> torch.Tensor:
            calls.append(1)
            if processes.rank == rank and len(calls) == 3:
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise EdgeDistillError("the disk is full")
            assert context.teacher_fn is not None
            return context.teacher_fn(batch, views, rows)

        trained(replace(context, processes=processes, teacher_fn=teacher_fn), tmp_path)

    statuses = together(2, work)
    error_output = capfd.readouterr().err
    assert statuses[rank] == (2 if how == "error" else -signal.SIGKILL), error_output
    assert statuses[1 - rank] == 2, error_output
    assert error_output.count("the disk is full") == (how == "error")
    assert error_output.count("another process of this run ended without a word") == (how == "kill")


def test_a_checkpoint_that_only_one_process_sees_is_refused(
    tmp_path: Path,
    make_task: Callable[..., TrainContext],
    together: Processes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    trained(make_task(), tmp_path / "0")

    def work(processes: ProcessGroup) -> None:
        trained(replace(make_task(), processes=processes), tmp_path / str(processes.rank))

    assert together(2, work) == [2, 2]
    assert "a file system that all machines share" in capfd.readouterr().err


def test_more_processes_than_images_in_a_step(
    tmp_path: Path,
    make_task: Callable[..., TrainContext],
    together: Processes,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def work(processes: ProcessGroup) -> None:
        context = make_task("scmd", {"worst_case_p": 0.2})
        trained(replace(context, processes=processes), tmp_path)

    assert together(2, work) == [2, 2]
    assert "too few for 2 processes" in capfd.readouterr().err


def test_alone_there_is_nobody_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed() as processes:
        assert processes == ProcessGroup()
        x = torch.ones(3, requires_grad=True)
        assert processes.gather(x, 3) is x
        assert (processes.any_rank(True), processes.any_rank(False), processes.broadcast(7)) == (
            True,
            False,
            7,
        )
    assert not dist.is_initialized()
