"""Fuzz every reader of files that a person hands over, and count what became of the cases.

    python tests/fuzz/run.py --cases 10000

prints the counts and writes them to tests/fuzz/results.json. Every kind runs in a process of its
own, so that a crash of native code is a fault of a case as well. Exit status 1: there were faults;
--keep FOLDER has their files.
"""

from __future__ import annotations

import argparse
import collections
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "support"), str(TESTS.parent)]

from fuzz.check import Fault, check, each_document, mutated, quiet_warnings_and_counted_stderr  # noqa: E402
from fuzz.kinds import KINDS, Kind  # noqa: E402

RESULTS = Path(__file__).with_name("results.json")
# More than a machine would give to one damaged file.
MEMORY = 8 * 2**30


def run_kind(kind: Kind, cases: int, seed: int, keep: Path) -> dict[str, Any]:
    """Counts of one kind, and its first faults."""
    counts: collections.Counter[str] = collections.Counter()
    faults: list[str] = []
    start = time.perf_counter()
    last = keep / f"{kind.name.replace(' ', '-')}-last"
    with tempfile.TemporaryDirectory() as name, quiet_warnings_and_counted_stderr() as printed:
        folder = Path(name)
        kind.prepare(folder)
        # What is imported at the first case takes longer than a case may.
        (folder / kind.file).write_bytes(kind.rewrite(kind.examples()[0]))
        kind.read(folder / kind.file)

        def case(damaged: bytes) -> None:
            last.write_bytes(damaged)
            counts["cases"] += 1
            try:
                counts[check(kind, damaged, folder, printed)] += 1
            except Fault as fault:
                counts["faults"] += 1
                file = keep / f"{kind.name.replace(' ', '-')}-{counts['cases']}"
                file.write_bytes(damaged)
                faults.append(f"{file}: {fault}")

        of_documents = cases // 2 if kind.formats else 0
        for number in range(cases - of_documents):
            case(mutated(kind, number, seed))
        if of_documents:
            each_document(kind, of_documents, seed, case)
    last.unlink()
    seconds = round(time.perf_counter() - start, 1)
    names = ("cases", "accepted", "refused", "faults")
    return {**{name: counts[name] for name in names}, "seconds": seconds, "first": faults[:20]}


def shares(cases: int) -> dict[Kind, int]:
    """Cases of every kind; together they are `cases`."""
    whole = sum(kind.weight for kind in KINDS)
    counts = {kind: round(cases * kind.weight / whole) for kind in KINDS}
    counts[KINDS[0]] += cases - sum(counts.values())
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[kind.name for kind in KINDS], help="this one alone")
    parser.add_argument("--keep", type=Path, help="folder for the files of faults")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    if options.kind:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        kind = next(kind for kind in KINDS if kind.name == options.kind)
        print(json.dumps(run_kind(kind, options.cases, options.seed, keep)))
        return 0
    results: dict[str, Any] = {}
    for kind, share in shares(options.cases).items():
        command = [sys.executable, __file__, "--kind", kind.name, "--cases", str(share)]
        command += ["--seed", str(options.seed), "--keep", str(keep)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            results[kind.name] = {"cases": share, "faults": 1, "first": [f"exit {done.returncode}"]}
        else:
            results[kind.name] = json.loads(done.stdout)
        first = results[kind.name].pop("first")
        print(kind.name, results[kind.name], *first, sep="\n  ", flush=True)
    faults = sum(counts["faults"] for counts in results.values())
    record = {"cases": options.cases, "seed": options.seed, "faults": faults, "kinds": results}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
