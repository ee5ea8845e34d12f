"""The sweep's driver and the engine `local`, with small stand-ins for the training process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from culprits import raises
from filelock import FileLock

from edgedistill.errors import MissingPackageError, RunFolderError, SweepError, UsageError
from edgedistill.recipe import load_recipe, to_toml
from edgedistill.sweep.drive import drive, estimate, format_duration, time_left
from edgedistill.sweep.engines import BUSY, Job, Outcome, Request, find_engine
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.local import open_engine, run_jobs, slot_environment
from edgedistill.sweep.plan import Plan, PlannedRun, one_per_cache

PlanOf = Callable[[str], Plan]
TWO = 'recipe = "base.toml"\ngrid.seed = [0, 1]\n'
PROGRAMS = Path(__file__).with_name("programs")


# Without site-packages a process starts several times faster.
PYTHON = (sys.executable, "-S")


def program(name: str, *arguments: object) -> tuple[str, ...]:
    """The command of one of `programs/`."""
    return (*PYTHON, str(PROGRAMS / f"{name}.py"), *map(str, arguments))


def finishing(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
    return program("finish", folder.run(run.name))


class Sweep:
    """Drives a plan and keeps its lines and how often results were collected."""

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.folder = plan, SweepFolder(path)
        self.lines: list[str] = []
        self.collected = 0

    def _collect(self) -> None:
        self.collected += 1

    def __call__(
        self,
        command: Callable[[SweepFolder, PlannedRun], tuple[str, ...]] = finishing,
        jobs: int = 1,
    ) -> dict[str, str]:
        return drive(
            self.plan, self.folder, run_jobs, jobs, self.lines.append, self._collect, command
        )


@pytest.fixture
def sweep(plan_of: PlanOf, tmp_path: Path) -> Sweep:
    return Sweep(plan_of(TWO), tmp_path / "out")


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_run_is_one_line(sweep: Sweep, jobs: int) -> None:
    assert sweep(jobs=jobs) == {}
    assert len(sweep.lines) == 2 and sweep.collected == 2
    assert sweep.lines[0].startswith("1/2 ") and "accuracy 50.0, H deployed 25.0" in sweep.lines[0]
    assert "left" in sweep.lines[0] and "left" not in sweep.lines[1]
    recipe = sweep.folder.recipe("s1")
    assert load_recipe(recipe) == sweep.plan.runs[1].recipe


def test_a_part_counts_its_own_runs(sweep: Sweep) -> None:
    def part(*names: str) -> list[str]:
        runs = [run for run in sweep.plan.runs if run.name in names]
        assert not drive(
            sweep.plan, sweep.folder, run_jobs, 1, sweep.lines.append, str, finishing, chosen=runs
        )
        return [line.partition(" ")[0] for line in sweep.lines]

    assert part("s1") == ["1/1"] and sweep.folder.metrics("s0") is None
    assert part("s0", "s1") == ["1/1", "2/2"]


def test_finished_runs_stay_and_the_rest_goes_on(sweep: Sweep) -> None:
    first = sweep.plan.runs[0]

    def only_first(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
        return finishing(folder, run) if run is first else program("end", 3)

    assert list(sweep(only_first)) == ["s1"]
    written = (sweep.folder.run("s0") / "metrics.json").stat().st_mtime_ns
    sweep.lines.clear()
    assert sweep() == {}
    assert [line.split(":")[0] for line in sweep.lines] == ["2/2 s1"]
    assert (sweep.folder.run("s0") / "metrics.json").stat().st_mtime_ns == written
    assert sweep(lambda folder, run: ("/does/not/matter",)) == {}


def test_a_failed_run_is_tried_once_more(sweep: Sweep, tmp_path: Path) -> None:
    def once(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
        return program("finish", folder.run(run.name), tmp_path / f"{run.name}.tried")

    assert sweep(once) == {}
    failed = [line for line in sweep.lines if "FAILED" in line]
    assert len(failed) == 2 and len(sweep.lines) == 4
    assert "exit status 1: the disk is full, see " in failed[0] and "once more" in failed[0]


def test_a_run_that_fails_twice_is_reported_and_stops_no_other(sweep: Sweep) -> None:
    def crash(folder: SweepFolder, run: PlannedRun) -> tuple[str, ...]:
        if run.values["seed"] == 1:
            return finishing(folder, run)
        return program("kill_itself")

    failed = sweep(crash)
    assert list(failed) == ["s0"] and failed["s0"].startswith("killed by SIGKILL (out of memory?)")
    assert sum("FAILED" in line for line in sweep.lines) == 2
    assert sweep.folder.metrics("s1") is not None


def test_an_exit_without_metrics_is_a_failure(sweep: Sweep) -> None:
    failed = sweep(lambda folder, run: program("end", 0))
    assert list(failed) == ["s0", "s1"] and "exit status 0: no word" in failed["s0"]


def test_another_recipe_of_the_same_name_is_refused(sweep: Sweep, plan_of: PlanOf) -> None:
    folder = sweep.folder.run("s0")
    folder.mkdir(parents=True)
    other = plan_of(TWO + "set.train.steps = 9\n").runs[0].recipe
    (folder / "recipe.toml").write_text(to_toml(other))
    # A run that trained; one that did not may be corrected.
    (folder / "history.csv").write_text("")
    with raises(SweepError, folder, "train.steps: 9, 600"):
        sweep()
    # Another device is the same run.
    same = sweep.plan.runs[0].recipe.model_copy(update={"device": "cuda"})
    (folder / "recipe.toml").write_text(to_toml(same))
    assert sweep() == {}


def test_two_sweeps_do_not_share_a_folder(sweep: Sweep) -> None:
    sweep.folder.path.mkdir()
    with (
        FileLock(sweep.folder.path / ".lock"),
        raises(SweepError, sweep.folder.path, "another sweep"),
    ):
        sweep()


def test_a_damaged_metrics_file_is_named(sweep: Sweep) -> None:
    path = sweep.folder.run("s0") / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with raises(RunFolderError, path):
        sweep()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in locks as POSIX systems do")
def test_a_run_that_a_killed_sweep_left_running_is_waited_for(sweep: Sweep) -> None:
    folder = sweep.folder.run("s0")
    with subprocess.Popen(
        program("hold", folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as orphan:
        assert orphan.stdin and orphan.stdout
        assert orphan.stdout.readline() == "held\n"
        messages: list[str] = []

        def notify(name: str, text: str) -> None:
            messages.append(f"{name}: {text}")
            orphan.stdin.close()  # type: ignore[union-attr]

        job = Job("s0", finishing(sweep.folder, sweep.plan.runs[0]), folder, folder / "log")
        outcomes = list(run_jobs([job], 1, notify))
    assert messages == [f"s0: {BUSY}"] and [o.status for o in outcomes] == [0]


def test_stopping_lets_the_processes_save(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    jobs = [Job(f.name, program("endless", f), f, f / "log") for f in folders]
    quick = Job("quick", program("end", 0), tmp_path, tmp_path / "log")
    # The quick one's outcome hands over control while the two others run on.
    with closing(run_jobs([*jobs, quick], 3, lambda name, text: None)) as outcomes:
        assert next(outcomes).name == "quick"
        while not all((folder / "started").exists() for folder in folders):
            time.sleep(0.01)
    assert all((folder / "saved").exists() for folder in folders)


def test_no_more_than_so_many_at_once(tmp_path: Path) -> None:
    jobs = [
        Job(str(n), program("count", tmp_path / f"{n}.on"), tmp_path, tmp_path / f"{n}.log")
        for n in range(5)
    ]
    assert {o.name for o in run_jobs(jobs, 2, lambda name, text: None)} == {
        str(n) for n in range(5)
    }
    counts = [int((tmp_path / f"{n}.log").read_text()) for n in range(5)]
    assert max(counts) <= 2


def test_children_share_cores_and_gpus() -> None:
    plain = {"PATH": "/bin"}
    assert slot_environment(0, 1, plain, cpus=8, gpus=4) == plain
    assert slot_environment(3, 4, plain, cpus=8, gpus=2) == {
        **plain,
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    given = {"OMP_NUM_THREADS": "5", "CUDA_VISIBLE_DEVICES": "3"}
    assert slot_environment(1, 4, given, cpus=8, gpus=2) == given
    assert slot_environment(1, 16, plain, cpus=8, gpus=1)["OMP_NUM_THREADS"] == "1"


def test_time_is_estimated_from_runs_of_the_same_kind(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [variants.method]
        scipd = {}
        erm = { "method.name" = "erm" }
        kd = { "method.name" = "kd" }
        [grid]
        seed = [0, 1]
        """
    )
    pending = [run for run in plan.runs if run.name.endswith("s1")]
    assert estimate(pending, {}, plan) is None
    # SCI-PD 60, ERM 20, and KD like the mean of both.
    assert estimate(pending, {"scipd-s0": 60.0, "erm-s0": 20.0}, plan) == 60 + 20 + 40


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (11_100, "3 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_ray_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "edgedistill.sweep.on_ray", raising=False)
    with raises(MissingPackageError, "--engine ray", 'pip install "edgedistill[ray]"'):
        find_engine("ray")


@pytest.mark.parametrize("option", ["address", "cpus", "gpus"])
def test_what_a_cluster_is_asked_for_is_no_option_of_one_machine(option: str) -> None:
    asked = Request(**{option: "head:6379" if option == "address" else 2.0})  # type: ignore[arg-type]
    with (
        raises(UsageError, f"--{option}", "--engine ray"),
        open_engine(asked, lambda name, text: None),
    ):
        pass


def test_time_left_where_it_is_unknown_how_many_share_it() -> None:
    assert time_left(1200, 2) == "about 10 min"
    assert time_left(1200, None) == "about 20 min of work"


class Recorded:
    """An engine that runs nothing: one job that fills a cache ends well, all others badly."""

    def __init__(self) -> None:
        self.calls: list[list[Job]] = []

    def __call__(
        self, jobs: Sequence[Job], at_once: int | None, notify: Callable[[str, str], None]
    ) -> Generator[Outcome, None, None]:
        self.calls.append(list(jobs))
        for job in jobs:
            fills = "cache" in job.command and "bigger" not in job.name
            yield Outcome(job.name, 0 if fills else 1, 1.0, "" if fills else "no luck")


def test_a_cache_of_unlabelled_images_is_filled_by_a_run_that_uses_them(plan_of: PlanOf) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [set]
        "data.unlabelled" = ["emoji"]
        [variants.method]
        scipd = {}
        kd = { "method.name" = "kd" }
        vl2v = { "method.name" = "vl2v" }
        """
    )
    assert [run.name for run in one_per_cache(plan.runs)] == ["scipd", "kd"]


def test_shared_caches_are_filled_before_the_first_run(
    plan_of: PlanOf, finish: Callable[..., None], tmp_path: Path
) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [variants.method]
        erm = { "method.name" = "erm" }
        scipd = {}
        bigger = { "method.name" = "erm", student.size = 224 }
        [grid]
        seed = [0, 1]
        """
    )
    assert [run.name for run in one_per_cache(plan.runs)] == ["scipd-s0", "bigger-s0"]
    folder, engine, lines = SweepFolder(tmp_path / "out"), Recorded(), []
    finish(folder, "scipd-s0")
    failed = drive(
        plan, folder, engine, None, lines.append, lambda: None, finishing, caches_first=True
    )
    caches, first, second = engine.calls
    # Of what is not finished, and a fault in a cache is for the runs to meet.
    assert [job.name for job in caches] == ["cache-of-scipd-s1", "cache-of-bigger-s0"]
    assert caches[0].command[2:] == (
        "edgedistill",
        "cache",
        "build",
        str(folder.recipe("scipd-s1")),
    )
    assert lines[0].startswith("caches of emoji: complete")
    assert lines[1] == "caches of emoji: FAILED, no luck; the runs fill them instead"
    assert len(first) == len(second) == len(failed) == 5 and failed["erm-s0"] == "no luck"


def test_engines_are_found_by_name() -> None:
    assert find_engine("local") is open_engine
    with raises(UsageError, "--engine locl", "'local'"):
        find_engine("locl")
