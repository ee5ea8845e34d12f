"""Latency of every student: onnxruntime fp32 and int8, PyTorch, OpenVINO; threads and input sizes.

    python -m benchmarks.peers.latency                         # all, on an idle machine
    python -m benchmarks.peers.latency resnet18 --sizes 224 --threads 1 --rounds 6
    python -m benchmarks.peers.latency --render                # only the table, from latency.json

The weights are random, as speed does not depend on them; int8 files have the nodes that the
exporter's policy gives the student before any answers are looked at. OpenVINO is left out where it
is not installed (pip install openvino). Everything about a student, an input size and a number of
threads takes turns.

Numbers go to benchmarks/peers/latency.json and from there into benchmarks/peers/RESULTS.md, between
`<!-- latency -->` marks. With --record FILE the table is printed, and no document is touched.
"""

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.marked import write_between
from benchmarks.peers import contenders
from benchmarks.peers.compare import versions
from benchmarks.peers.contenders import Contender
from benchmarks.peers.peers_tables import latency_document
from benchmarks.peers.random_student import RandomStudent, make_student
from benchmarks.script import read_record, run_script, whole, wholes
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.bench.timing import measure, ratio, self_ratio, timing
from edgedistill.errors import EdgeDistillError

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("latency.json")
MARK = "<!-- latency -->"
STUDENTS = ("resnet18", "efficientnet_b0", "mobilenet_v3_small", "mobilenet_v3_large")
FP32 = "onnxruntime fp32"


def engines(student: RandomStudent, threads: int) -> tuple[list[Contender], list[str]]:
    """Contenders of a student, onnxruntime in fp32 first, and reasons why others are missing."""
    size = student.size
    wanted: list[Callable[[], Contender]] = [
        lambda: contenders.exported(FP32, student.fp32, size, threads),
        lambda: contenders.exported("onnxruntime int8", student.int8, size, threads),
        lambda: contenders.eager("PyTorch fp32", student.module, size, threads),
        lambda: contenders.openvino("OpenVINO fp32", student.fp32, size, threads),
        lambda: contenders.openvino("OpenVINO int8", student.int8, size, threads),
    ]
    runnable, skipped = [], []
    for make in wanted:
        try:
            runnable.append(make())
        except EdgeDistillError as error:
            skipped.append(str(error))
    return runnable, skipped


def entries_of(student: RandomStudent, threads: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Times of one student at one size: an entry per engine, precision and number of threads."""
    entries: list[dict[str, Any]] = []
    for count in threads:
        subjects, _ = engines(student, count)

        def load(one: Contender) -> Callable[[], object]:
            return partial(one.load(), student.images[:1])

        loads = [partial(load, one) for one in [*subjects, subjects[0]]]
        (samples,) = measure([loads], rounds)
        noise = self_ratio(samples[-1], samples[0])["noise"]
        for one, own in zip(subjects, samples, strict=False):
            engine, precision = one.name.split()
            entries.append(
                {
                    "student": student.name,
                    "size": student.size,
                    "threads": count,
                    "engine": engine,
                    "precision": precision,
                    "bytes": one.bytes,
                    "timing": timing(own, 1),
                    "time_over_fp32": ratio(own, samples[0], noise),
                    "noise": noise,
                }
            )
    return entries


def record_of(options: argparse.Namespace) -> dict[str, Any]:
    """latency.json."""
    date, before = datetime.now(UTC), moment()
    entries, skipped = [], []
    for name in options.students or STUDENTS:
        for size in options.sizes:
            student = make_student(name, size)
            skipped += engines(student, 1)[1]
            entries += entries_of(student, options.threads, options.rounds)
            print(f"{name}, {size} px: done", flush=True)
    return {
        "machine": machine(before, moment(), date),
        "versions": versions(),
        "rounds": options.rounds,
        "skipped": list(dict.fromkeys(skipped)),
        "entries": entries,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="*", metavar="STUDENT", help="default: all four")
    parser.add_argument("--sizes", type=wholes(32, 1024), default=[224, 96], help="input sides")
    parser.add_argument("--threads", type=wholes(1, 1024), default=[1, 2])
    parser.add_argument("--rounds", type=whole(6, 1000), default=20, help="interleaved rounds")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file to write")
    parser.add_argument("--render", action="store_true", help="only write the table again")
    options = parser.parse_args()
    unknown = sorted(set(options.students) - set(STUDENTS))
    if unknown:
        parser.error(f"no student {unknown[0]!r}; choose from {', '.join(STUDENTS)}")
    if not options.render:
        write_json(options.record, record_of(options))
    record = read_record(options.record, "python -m benchmarks.peers.latency")
    if options.record.resolve() == RECORD:
        write_between(ROOT / "benchmarks/peers/RESULTS.md", MARK, latency_document(record))
    else:
        print(latency_document(record))


if __name__ == "__main__":
    run_script(main)
