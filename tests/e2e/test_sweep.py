"""`edgedistill sweep` with real training processes: killed, started again, asked for nonsense.

All but one train in forks (see `fork_engine`) of the process that has imported torch already.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from filelock import FileLock, Timeout
from networks import FEW_NODES

FORKED = ("sweep", "--engine", "fork")
SWEEP = """
recipe = "tiny.toml"
[set]
train.steps = 2
train.eval_every = 1
data.protocol = "hdg"
data.hybridness = 0
[variants.method]
scipd = {}
erm = { "method.name" = "erm" }
"""
EXPORT = "[export]\n"
BENCH = EXPORT + "bench = true\nrounds = 6\n"


def write_sweep(folder: Path, tree: dict[str, Any]) -> Path:
    (folder / "tiny.toml").write_text(tomli_w.dumps(tree))
    path = folder / "pair.toml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def sweep(tmp_path: Path, tree_of: Callable[..., dict[str, Any]]) -> Path:
    return write_sweep(tmp_path, tree_of(views={"count": 1}, student=FEW_NODES))


@dataclass(frozen=True)
class Exported:
    """A sweep whose runs are trained, two at a time, exported and timed."""

    path: Path
    folder: Path
    result: Any

    def copy_to(self, folder: Path, bench: bool) -> Path:
        """A copy of the sweep that is timed or not; the path of its file."""
        shutil.copytree(self.folder, folder / self.folder.name)
        shutil.copy(self.path.with_name("tiny.toml"), folder)
        path = folder / self.path.name
        path.write_text(SWEEP + (BENCH if bench else EXPORT))
        return path


@pytest.fixture(scope="module")
def exported(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    folder = tmp_path_factory.mktemp("exported_sweep")
    path = write_sweep(folder, tree_of(views={"count": 1}, student=FEW_NODES))
    path.write_text(SWEEP + BENCH)
    result = cli(*FORKED, path, "--out", folder, "--jobs", "2")
    return Exported(path, folder / "pair", result)


def test_a_killed_sweep_goes_on_and_repeats_nothing(cli: Any, sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair"
    first = out / "runs" / "scipd" / "metrics.json"
    running = cli.start(*FORKED, sweep, "--out", tmp_path)
    running.wait_for(first.exists)
    running.kill(signal.SIGKILL)
    running.wait()
    written = first.read_bytes()
    metrics = json.loads(written)
    assert (metrics["protocol"], metrics["hybridness"]) == ("hdg", 0)

    again = cli(*FORKED, sweep, "--out", tmp_path)
    assert again.status == 0, again.err
    assert "pair: 2 runs = 2 method" in again.out
    assert "teacher: 1 cached pass over the images" in again.out
    assert "for the 1 runs not finished" in again.out
    lines = [line for line in again.err.splitlines() if line.startswith(("1/2", "2/2"))]
    assert len(lines) == 1 and lines[0].startswith("2/2 erm: accuracy ")
    assert first.read_bytes() == written

    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["scipd", "erm"]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["protocol"] for row in rows} == {"hdg"}
    assert all(0 <= float(row["oracle_h_score"]) <= 1 for row in rows)
    assert "| erm |" in (out / "tables.md").read_text()
    assert (out / "heat_accuracy.png").is_file()

    third = cli(*FORKED, sweep, "--out", tmp_path)
    assert third.status == 0 and "all runs are finished" in third.out


def test_a_stopped_sweep_leaves_no_process_behind(cli: Any, sweep: Path, tmp_path: Path) -> None:
    running = cli.start(*FORKED, sweep, "--out", tmp_path)
    run = tmp_path / "pair" / "runs" / "scipd"
    running.wait_for((run / "recipe.toml").exists)
    running.kill(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130 and "the same command goes on from there" in stopped.error
    with FileLock(run / ".lock", timeout=0), FileLock(tmp_path / "pair" / ".lock", timeout=0):
        assert not (tmp_path / "pair" / "runs" / "erm").exists()


def test_the_plan_is_printed_and_nothing_runs(cli: Any, sweep: Path, tmp_path: Path) -> None:
    result = cli(*FORKED, sweep, "--out", tmp_path, "--dry-run")
    assert result.status == 0
    assert "  scipd\n  erm\n" in result.out and "known after the first runs" in result.out
    assert not (tmp_path / "pair").exists()


def test_a_part_of_the_plan(cli: Any, sweep: Path, tmp_path: Path) -> None:
    result = cli("sweep", sweep, "--out", tmp_path, "--dry-run", "--only", "method=erm")
    assert result.status == 0
    assert "only: 1 of them" in result.out and result.out.endswith("  erm\n")
    # With a new interpreter for each run, as a user has it.
    done = cli("sweep", sweep, "--out", tmp_path, "--only", "method=erm")
    assert done.status == 0, done.err
    table = done.out.partition("Mean over target domains")[2]
    assert "erm" in table and "scipd" not in table.partition("results")[0]
    assert [path.name for path in (tmp_path / "pair" / "runs").iterdir()] == ["erm"]


@pytest.mark.parametrize(
    ("options", "culprits"),
    [
        (["--engine", "slurm"], ["--engine slurm"]),
        (["--jobs", "0"], ["'--jobs'"]),
        (["--only", "method=kd"], ["--only method=kd", "'kd'", "scipd, erm"]),
    ],
)
def test_wrong_options_are_one_line(
    cli: Any, sweep: Path, options: list[str], culprits: list[str]
) -> None:
    cli("sweep", sweep, *options).assert_refused(*culprits)


def test_a_run_that_cannot_work_is_reported(cli: Any, sweep: Path, tmp_path: Path) -> None:
    missing = SWEEP.replace("scipd = {}", 'scipd = { "teacher.model" = "local-dir:absent" }')
    sweep.write_text(missing.replace('erm = { "method.name" = "erm" }\n', ""))
    result = cli(*FORKED, sweep, "--out", tmp_path)
    assert result.status == 1
    assert "1 of 1 runs failed twice" in result.out
    assert "failed    scipd: exit status 2: " in result.out and "absent" in result.out

    # What it was begun with was wrong, so nothing hinders the corrected one.
    sweep.write_text(SWEEP)
    assert cli(*FORKED, sweep, "--out", tmp_path, "--only", "method=scipd").status == 0


@pytest.mark.parametrize(
    ("field", "value", "culprit"),
    [
        ("hybridness", "0.4", "hybridness"),
        ("target", '"lien"', "lien"),
        ("dataset", '"pasc"', "pasc"),
    ],
)
def test_what_the_data_cannot_give_stops_a_sweep_before_it_starts(
    cli: Any, sweep: Path, tmp_path: Path, field: str, value: str, culprit: str
) -> None:
    text = SWEEP.replace("data.hybridness = 0\n", "") if field == "hybridness" else SWEEP
    sweep.write_text(text.replace("[variants", f"data.{field} = {value}\n[variants"))
    result = cli(*FORKED, sweep, "--out", tmp_path)
    result.assert_refused("run scipd", culprit)
    assert not (tmp_path / "pair" / "runs").exists()


def test_files_of_a_sweep_are_made_answered_and_timed(
    cli: Any, exported: Exported, tmp_path: Path
) -> None:
    first = exported.result
    assert first.status == 0, first.err
    sweep = exported.copy_to(tmp_path, bench=True)
    out = tmp_path / "pair"
    assert "files: fp32, timed for every series" in first.out
    assert "Files, mean over target domains" in first.out
    record = json.loads((out / "files.json").read_text())
    assert set(record["files"]) == {"scipd", "erm"}
    timed = {model["sha256"] for model in record["bench"]["models"]}
    assert timed == {files["fp32"]["sha256"] for files in record["files"].values()}
    # onnxruntime answers as torch did, to the image.
    metrics = json.loads((out / "runs" / "scipd" / "metrics.json").read_text())
    assert record["files"]["scipd"]["fp32"]["accuracy"] == metrics["target"]["accuracy"]
    assert "| scipd | fp32 |" in (out / "files.md").read_text()

    student = out / "runs" / "erm" / "student.onnx"
    written_at = student.stat().st_mtime_ns
    again = cli(*FORKED, sweep, "--out", tmp_path)
    assert again.status == 0 and student.stat().st_mtime_ns == written_at
    assert json.loads((out / "files.json").read_text()) == record


def test_a_run_that_cannot_be_exported_is_named_and_the_other_keeps_its_files(
    cli: Any, exported: Exported, tmp_path: Path
) -> None:
    sweep = exported.copy_to(tmp_path, bench=False)
    out = tmp_path / "pair"
    weights = out / "runs" / "erm" / "student.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    result = cli(*FORKED, sweep, "--out", tmp_path)
    assert result.status == 0
    (line,) = [line for line in result.err.splitlines() if "no files" in line]
    assert line.startswith("warning: erm: no files: exit status 2: ")
    assert "student.safetensors" in line and line.endswith("erm.log")
    assert set(json.loads((out / "files.json").read_text())["files"]) == {"scipd"}

    weights.write_bytes(whole)
    assert cli(*FORKED, sweep, "--out", tmp_path).status == 0
    assert set(json.loads((out / "files.json").read_text())["files"]) == {"scipd", "erm"}


def test_a_stopped_export_leaves_no_process_and_no_part_of_a_file(
    cli: Any, exported: Exported, tmp_path: Path
) -> None:
    sweep = exported.copy_to(tmp_path, bench=False)
    out = tmp_path / "pair"
    run = out / "runs" / "scipd"
    (out / "files" / "scipd.json").unlink()
    (run / "student.onnx").unlink()
    lock = FileLock(run / ".lock")

    def is_locked() -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    # Until the export holds the lock of the run's folder.
    running = cli.start(*FORKED, sweep, "--out", tmp_path)
    running.wait_for(is_locked)
    running.kill(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130 and "the same command goes on from there" in stopped.error
    with FileLock(run / ".lock", timeout=0):
        assert not list(run.glob(".*.tmp*")) and not list(run.glob("*.tmp*"))
    assert not (out / "files" / "scipd.json").exists()
    assert cli(*FORKED, sweep, "--out", tmp_path).status == 0
    assert (out / "files" / "scipd.json").is_file()
    assert (run / "student.onnx").is_file()


def test_an_unknown_key_of_export_is_one_line(cli: Any, sweep: Path) -> None:
    with open(sweep, "a") as file:
        file.write("[export]\nint4 = true\n")
    cli("sweep", sweep).assert_refused(sweep, "export.int4", "'int8'")


@pytest.mark.parametrize("line", ["threads = 0", "rounds = 5"])
def test_numbers_of_export_that_cannot_be_are_one_line(cli: Any, sweep: Path, line: str) -> None:
    with open(sweep, "a") as file:
        file.write(f"[export]\nbench = true\n{line}\n")
    cli("sweep", sweep).assert_refused(sweep, f"export.{line.split()[0]}")
