"""`edgedistill sweep` with real training processes: killed, started again, asked for nonsense."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from filelock import FileLock, Timeout

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


@pytest.fixture
def sweep(tmp_path: Path, tree_of: Callable[..., dict[str, Any]]) -> Path:
    (tmp_path / "tiny.toml").write_text(tomli_w.dumps(tree_of(views={"count": 1})))
    path = tmp_path / "pair.toml"
    path.write_text(SWEEP)
    return path


def test_a_killed_sweep_goes_on_and_repeats_nothing(cli: Any, sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair"
    first = out / "runs" / "scipd" / "metrics.json"
    running = cli.start("sweep", sweep, "--out", tmp_path)
    # As long as it takes: a process that imports torch has no time limit on a loaded machine.
    while not first.exists():
        time.sleep(0.01)
    running.kill(signal.SIGKILL)
    running.wait()
    kept = first.read_bytes()
    metrics = json.loads(kept)
    assert (metrics["protocol"], metrics["hybridness"]) == ("hdg", 0)

    again = cli("sweep", sweep, "--out", tmp_path)
    assert again.status == 0, again.err
    assert "pair: 2 runs = 2 method" in again.out
    assert "teacher: 1 cached pass over the images" in again.out
    assert "for the 1 runs not finished" in again.out
    lines = [line for line in again.err.splitlines() if line.startswith(("1/2", "2/2"))]
    assert len(lines) == 1 and lines[0].startswith("2/2 erm: accuracy ")
    assert first.read_bytes() == kept

    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["scipd", "erm"]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["protocol"] for row in rows} == {"hdg"}
    assert all(0 <= float(row["oracle_h_score"]) <= 1 for row in rows)
    assert "| erm |" in (out / "tables.md").read_text()
    assert (out / "heat_accuracy.png").is_file()

    third = cli("sweep", sweep, "--out", tmp_path)
    assert third.status == 0 and "all runs are finished" in third.out


def test_a_stopped_sweep_leaves_no_process_behind(cli: Any, sweep: Path, tmp_path: Path) -> None:
    running = cli.start("sweep", sweep, "--out", tmp_path)
    run = tmp_path / "pair" / "runs" / "scipd"
    while not (run / "recipe.toml").exists():
        time.sleep(0.01)
    running.kill(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130 and "the same command goes on from there" in stopped.error
    with FileLock(run / ".lock", timeout=0), FileLock(tmp_path / "pair" / ".lock", timeout=0):
        assert not (tmp_path / "pair" / "runs" / "erm").exists()


def test_the_plan_is_printed_and_nothing_runs(cli: Any, sweep: Path, tmp_path: Path) -> None:
    found = cli("sweep", sweep, "--out", tmp_path, "--dry-run")
    assert found.status == 0
    assert "  scipd\n  erm\n" in found.out and "known after the first runs" in found.out
    assert not (tmp_path / "pair").exists()


def test_a_part_of_the_plan(cli: Any, sweep: Path, tmp_path: Path) -> None:
    found = cli("sweep", sweep, "--out", tmp_path, "--dry-run", "--only", "method=erm")
    assert found.status == 0
    assert "only: 1 of them" in found.out and found.out.endswith("  erm\n")
    done = cli("sweep", sweep, "--out", tmp_path, "--only", "method=erm")
    assert done.status == 0
    table = done.out.partition("Mean over target domains")[2]
    assert "erm" in table and "scipd" not in table.partition("results")[0]
    assert [path.name for path in (tmp_path / "pair" / "runs").iterdir()] == ["erm"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "slurm"], "--engine slurm: no such engine"),
        (["--jobs", "0"], "'--jobs'"),
        (["--only", "method=kd"], "method has no value 'kd'; allowed: scipd, erm"),
    ],
)
def test_wrong_options_are_one_line(cli: Any, sweep: Path, options: list[str], words: str) -> None:
    found = cli("sweep", sweep, *options)
    assert found.status == 2 and words in found.error


def test_a_run_that_cannot_work_is_reported(cli: Any, sweep: Path, tmp_path: Path) -> None:
    missing = SWEEP.replace("scipd = {}", 'scipd = { "teacher.model" = "local-dir:absent" }')
    sweep.write_text(missing.replace('erm = { "method.name" = "erm" }\n', ""))
    found = cli("sweep", sweep, "--out", tmp_path)
    assert found.status == 1
    assert "1 of 1 runs failed twice" in found.out
    assert "failed    scipd: exit status 2: " in found.out and "absent" in found.out

    # What it was begun with was wrong, so nothing hinders the corrected one.
    sweep.write_text(SWEEP)
    assert cli("sweep", sweep, "--out", tmp_path).status == 0


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hybridness", "0.4", "split: no hybridness"),
        ("target", '"lien"', "lien"),
        ("dataset", '"pasc"', "pasc"),
    ],
)
def test_what_the_data_cannot_give_stops_a_sweep_before_it_starts(
    cli: Any, sweep: Path, tmp_path: Path, field: str, value: str, says: str
) -> None:
    kept = SWEEP.replace("data.hybridness = 0\n", "") if field == "hybridness" else SWEEP
    sweep.write_text(kept.replace("[variants", f"data.{field} = {value}\n[variants"))
    found = cli("sweep", sweep, "--out", tmp_path)
    assert found.status == 2 and found.error.startswith("run scipd: ")
    assert says in found.error
    assert not (tmp_path / "pair" / "runs").exists()


def test_files_of_a_sweep_are_made_answered_and_timed(
    cli: Any, sweep: Path, tmp_path: Path
) -> None:
    with open(sweep, "a") as file:
        file.write("[export]\nbench = true\nrounds = 6\n")
    first = cli("sweep", sweep, "--out", tmp_path, "--jobs", "2")
    assert first.status == 0, first.err
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
    made = student.stat().st_mtime_ns
    again = cli("sweep", sweep, "--out", tmp_path)
    assert again.status == 0 and student.stat().st_mtime_ns == made
    assert json.loads((out / "files.json").read_text()) == record


@pytest.fixture
def trained(cli: Any, sweep: Path, tmp_path: Path) -> Path:
    """The sweep with its runs finished, and nothing exported yet."""
    assert cli("sweep", sweep, "--out", tmp_path).status == 0
    with open(sweep, "a") as file:
        file.write("[export]\n")
    return sweep


def test_a_run_without_files_is_named_and_the_other_is_exported(
    cli: Any, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pair"
    weights = out / "runs" / "erm" / "student.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:100])
    found = cli("sweep", trained, "--out", tmp_path)
    assert found.status == 0
    (line,) = [line for line in found.err.splitlines() if "no files" in line]
    assert line.startswith("warning: erm: no files: exit status 2: ")
    assert "student.safetensors" in line and line.endswith("erm.log")
    assert set(json.loads((out / "files.json").read_text())["files"]) == {"scipd"}

    weights.write_bytes(kept)
    assert cli("sweep", trained, "--out", tmp_path).status == 0
    assert set(json.loads((out / "files.json").read_text())["files"]) == {"scipd", "erm"}


def test_a_stopped_export_leaves_no_process_and_no_part_of_a_file(
    cli: Any, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "pair" / "runs" / "scipd"
    lock = FileLock(run / ".lock")
    # Until the export holds the lock of the run's folder.
    running = cli.start("sweep", trained, "--out", tmp_path)
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            break
        lock.release()
        time.sleep(0.01)
    running.kill(signal.SIGINT)
    stopped = running.wait()
    assert stopped.status == 130 and "the same command goes on from there" in stopped.error
    with FileLock(run / ".lock", timeout=0):
        assert not list(run.glob(".*.tmp*")) and not list(run.glob("*.tmp*"))
    assert cli("sweep", trained, "--out", tmp_path).status == 0
    assert {path.stem for path in (tmp_path / "pair" / "files").glob("*.json")} == {"scipd", "erm"}


def test_an_unknown_key_of_export_is_one_line(cli: Any, sweep: Path) -> None:
    with open(sweep, "a") as file:
        file.write("[export]\nint4 = true\n")
    found = cli("sweep", sweep)
    assert found.status == 2 and "export.int4: unknown key; did you mean 'int8'" in found.error


@pytest.mark.parametrize("line", ["threads = 0", "rounds = 5"])
def test_numbers_of_export_that_cannot_be_are_one_line(cli: Any, sweep: Path, line: str) -> None:
    with open(sweep, "a") as file:
        file.write(f"[export]\nbench = true\n{line}\n")
    found = cli("sweep", sweep)
    assert found.status == 2 and f"export.{line.split()[0]}: " in found.error
