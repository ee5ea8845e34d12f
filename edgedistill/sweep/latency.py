"""Latencies of a sweep's files: one interleaved `edgedistill bench` over a run of each series."""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.errors import SweepError
from edgedistill.sweep.exports import FILES, read_record
from edgedistill.sweep.folder import SweepFolder

# Facts of a machine with which the times of a file change.
_WHERE = ("cpu", "cores", "flags", "onnxruntime", "edgedistill")


def representative_runs(
    series: Mapping[str, str], files: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The run that is timed for each series: the first that has all its files.

    Runs of a series have the same fp32 graph, and nearly the same in int8.

    Args:
        series: run -> its series.
        files: run -> what `export_and_evaluate` returned.

    Returns:
        Series -> run.
    """
    chosen: dict[str, str] = {}
    for run, name in series.items():
        if run not in files:
            continue
        if name not in chosen or _exported(files[run]) > _exported(files[chosen[name]]):
            chosen[name] = run
    return chosen


def time_files(
    runs: Sequence[str],
    files: Mapping[str, Mapping[str, Any]],
    folder: SweepFolder,
    threads: int,
    rounds: int | None,
) -> dict[str, Any]:
    """The result of `edgedistill bench --json` over the files of some runs.

    It is recorded beside the sweep, and measured again only for other files, another machine, other
    versions or options.

    Raises:
        SweepError: bench failed, or a file is not the one that was evaluated.
    """
    hashed_files = [
        (folder.run(run) / FILES[precision], entry["sha256"])
        for run in runs
        for precision, entry in files[run].items()
        if "sha256" in entry
    ]
    hashes = [sha256 for _, sha256 in hashed_files]
    record = folder.files / "bench.json"
    now = moment()
    this_machine = machine(now, now, datetime.now(UTC))
    parts = [
        *hashes,
        *(str(value) for name, value in this_machine.items() if name in _WHERE),
        str(threads),
        str(rounds),
    ]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    done = read_record(record, key)
    if done is not None:
        result: dict[str, Any] = done["result"]
        return result
    command = [
        sys.executable,
        "-m",
        "edgedistill",
        "bench",
        *(str(path) for path, _ in hashed_files),
    ]
    command += ["--threads", str(threads), "--batch", "1"]
    if rounds is not None:
        command += ["--rounds", str(rounds)]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "bench.json"
        status = subprocess.run([*command, "--json", str(out)], stdout=sys.stderr).returncode
        if status:
            raise SweepError(f"edgedistill bench: ended with status {status}; its output is above")
        result = json.loads(out.read_text(encoding="utf-8"))
    if {model["sha256"] for model in result["models"]} != set(hashes):
        raise SweepError(f"{folder.path}: files changed while they were timed; start again")
    write_json(record, {"key": key, "result": result})
    return result


def _exported(files: Mapping[str, Any]) -> int:
    return sum("sha256" in entry for entry in files.values())
