"""Measured gain of each kind of node in int8 on this CPU, and the policy it gives the exporter.

    python -m benchmarks.int8_policy --write               # the students with a target; kept
    python -m benchmarks.int8_policy resnet18 --size 64    # one student, only printed

One image at a time on one thread. First whole kinds of nodes are tried (all pointwise
convolutions, all convolutions, activations, squeeze-and-excitation), then every block alone is
tried with each kind, keeping what makes the whole file faster. The result must beat the whole
kinds that it began at by more than noise, or these are taken. Every choice compares medians of
interleaved runs, in CPU time of the one thread, which other processes change little. The weights
are random: speed does not depend on them, and whether answers suffer is for the export to say, on
real images.

With --write, a student that was measured on this CPU with this onnxruntime is not measured again
(--again does), so a run that was stopped goes on where it was.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from benchmarks.marked import write_between
from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.export.int8.calibrate import calibrate_ranges, ranges
from edgedistill.export.int8.policy import POLICY_FILE, block_of, node_kinds
from edgedistill.export.int8.prepare import prepare as prepared
from edgedistill.export.int8.quantize import Ranges, quantize
from edgedistill.export.latency import interleaved, median_ratio
from edgedistill.export.onnx.graph import export_graph
from edgedistill.export.onnx.module import Deployed
from edgedistill.methods import METHODS
from edgedistill.openset.head import OpenSetHead
from edgedistill.students import STUDENTS
from edgedistill.students.assemble import assemble_student

CONVOLUTIONS = frozenset({"convolution", "pointwise", "depthwise", "maxpool"})
LEVELS: dict[str, frozenset[str]] = {
    "float": frozenset(),
    "pointwise": frozenset({"pointwise"}),
    "convolutions": CONVOLUTIONS,
    "convolutions, sums": CONVOLUTIONS | {"add"},
    "all but gates": CONVOLUTIONS | {"add", "activation"},
    "all": CONVOLUTIONS | {"add", "activation", "gate"},
}
"""Kinds of nodes in int8, from none to all; the classifier stays float."""

# A choice is kept when it makes the file this much faster; less is noise.
KEEP = 0.985
# The search begins at each of so many of the fastest levels: borders between integers and floats
# cost, so that from one of them the best set may be out of reach block by block.
STARTS = 2
# One policy serves all input sizes: it is searched at the size the students were designed for.
SIZE = 224
RECORD = Path(__file__).with_name("int8_policy_measured.json")
PAGE = Path(__file__).parent / "INT8.md"
MARK = "<!-- int8 -->"
TARGETS = {
    "resnet18": 0.35,
    "efficientnet_b0": 0.75,
    "mobilenet_v3_large": 0.75,
    "mobilenet_v3_small": 0.85,
}
"""int8 / fp32 that the project set itself, on a CPU with integer dot products."""


@dataclass(frozen=True)
class Subject:
    """A student ready to be quantised in any way."""

    model: ModelProto
    kinds: Mapping[str, str]
    ranges: Ranges
    images: NDArray[np.uint8]

    def nodes(self, level: str, block: str | None = None) -> frozenset[str]:
        """Nodes that a level puts into int8, of one block or of all."""
        return frozenset(
            name
            for name, kind in self.kinds.items()
            if kind in LEVELS[level] and block in (None, block_of(name))
        )

    def file(self, chosen: Iterable[str]) -> bytes:
        names = set(chosen)
        if not names:
            return self.model.SerializeToString()
        return quantize(prepared(self.model, names), names, self.ranges).SerializeToString()


def prepare(student: str, size: int) -> Subject:
    """The student with random weights and batch norms that fit them, so that no value vanishes."""
    torch.manual_seed(0)
    erm = METHODS["erm"]
    module = assemble_student(student, erm(erm.Hyper(), text=None), 100)
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (4, 7, 7, 3), dtype=np.uint8)
    images = blocks.repeat(-(-size // 7), 1).repeat(-(-size // 7), 2)[:, :size, :size]
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    deployed = Deployed(module, OpenSetHead("max_logit"))
    with torch.no_grad():
        deployed.train()
        deployed(torch.from_numpy(np.ascontiguousarray(images)), torch.tensor(0.0))
    deployed.eval().requires_grad_(False)
    model = export_graph(deployed, size, 100, 0.0)
    kinds = node_kinds(model.graph)
    everything = {n for n, kind in kinds.items() if kind in LEVELS["all"]}
    calibrated = calibrate_ranges(model, everything, images)
    return Subject(model, kinds, ranges(calibrated.extremes, 1.0), images[:1])


def search(subject: Subject, rounds: int, passes: int) -> tuple[frozenset[str], dict[str, float]]:
    """The fastest set of nodes that is not empty, and the time of every level over float."""
    files = {level: subject.file(subject.nodes(level)) for level in LEVELS}
    seconds = timed(files, subject, rounds)
    levels = {level: round(median_ratio(seconds, level, "float"), 3) for level in LEVELS}
    print("  " + ", ".join(f"{name} {value:.2f}" for name, value in levels.items()), flush=True)
    fastest = sorted(set(LEVELS) - {"float"}, key=lambda level: -levels[level])
    # Of levels that are the same nodes in this student, the fastest stays.
    distinct = {subject.nodes(level): level for level in fastest}
    best = sorted(distinct.values(), key=lambda level: levels[level])[:STARTS]
    ends = {level: _climb(subject, level, rounds, passes) for level in best}
    whole = subject.nodes(best[0])
    files = {level: subject.file(nodes) for level, nodes in ends.items()}
    seconds = timed({**files, "whole": subject.file(whole)}, subject, 4 * rounds)
    fastest_start = min(best, key=lambda level: float(np.median(seconds[level])))
    # Whole kinds of nodes make the smaller file, and the faster one where integers cost less.
    return (
        ends[fastest_start] if median_ratio(seconds, fastest_start, "whole") < KEEP else whole
    ), levels


def _climb(subject: Subject, level: str, rounds: int, passes: int) -> frozenset[str]:
    """From whole kinds of nodes, block by block to what is faster."""
    chosen = subject.nodes(level)
    blocks = list(dict.fromkeys(block_of(name) for name in subject.kinds))
    start = time.monotonic()
    for number in range(passes):
        before = chosen
        for place, block in enumerate(blocks):
            chosen = _improve(subject, chosen, block, rounds)
            print(
                f"  from {level!r}, pass {number + 1} of {passes}, block {place + 1} of "
                f"{len(blocks)} ({block}): {len(chosen)} nodes in int8, "
                f"{time.monotonic() - start:.0f} s",
                flush=True,
            )
        if chosen == before:
            break
    return chosen


def timed(
    files: Mapping[str, bytes], subject: Subject, rounds: int
) -> dict[str, NDArray[np.float64]]:
    """CPU seconds of one answer, float64 [rounds] per file."""
    return interleaved(files, subject.images, rounds, clock=time.thread_time)


def _improve(subject: Subject, chosen: frozenset[str], block: str, rounds: int) -> frozenset[str]:
    """The best of all levels for one block, the others as they are."""
    others = frozenset(name for name in chosen if block_of(name) != block)
    options = {others | subject.nodes(level, block) for level in LEVELS} - {chosen, frozenset()}
    if not options:
        return chosen
    sets = {"now": chosen} | {str(i): o for i, o in enumerate(sorted(options, key=sorted))}
    files = {name: subject.file(nodes) for name, nodes in sets.items()}
    seconds = timed(files, subject, rounds)
    best = min(sets, key=lambda name: float(np.median(seconds[name])))
    return sets[best] if median_ratio(seconds, best, "now") < KEEP else chosen


def profile(
    model: bytes, origin: Mapping[str, str], images: NDArray[np.uint8], runs: int = 30
) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds per run, by onnxruntime's profiler: of each kind of kernel, of each block.

    onnxruntime names a kernel after the node it was, or after the tensor it makes; `origin` says
    which block a tensor is of. What belongs to no block (changes of layout, say) is "elsewhere".
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, {"image": images})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time").partition("_token_")[0]
            spent[event["args"]["op_name"], name].append(event["dur"] / 1000)
    kernels: dict[str, float] = defaultdict(float)
    blocks: dict[str, float] = defaultdict(float)
    for (kernel, name), milliseconds in spent.items():
        # The median leaves out what other processes interrupted.
        usual = float(np.median(milliseconds)) * len(milliseconds) / runs
        tensor = name.removesuffix("_nchwc")
        kernels[kernel] += usual
        if name.startswith("backbone.") or tensor in origin:
            blocks[origin.get(tensor) or block_of(name)] += usual
        else:
            blocks["elsewhere"] += usual
    return dict(kernels), dict(blocks)


def measure(student: str, size: int, rounds: int, passes: int) -> dict[str, Any]:
    """Search one student, print the result, and return the record of it."""
    print(f"{student}, {size} px", flush=True)
    before, date = moment(), datetime.now(UTC)
    subject = prepare(student, size)
    chosen, levels = search(subject, rounds, passes)
    files = {"fp32": subject.file(()), "int8": subject.file(chosen)}
    seconds = timed(files, subject, 4 * rounds)
    nodes = subject.model.graph.node
    origin = {out: block_of(node.name) for node in nodes for out in node.output}
    profiles = {name: profile(model, origin, subject.images) for name, model in files.items()}
    here = machine(before, moment(), date)
    return {
        "size": size,
        "cpu": here["cpu"],
        "flags": here["flags"],
        "onnxruntime": here["onnxruntime"],
        "load": [here["load_before"], here["load_after"]],
        "levels": levels,
        "time_ratio": round(median_ratio(seconds, "int8", "fp32"), 3),
        "ms": {name: round(1000 * float(np.median(values)), 3) for name, values in seconds.items()},
        "bytes": {name: len(model) for name, model in files.items()},
        "kernels": _side_by_side({name: kinds for name, (kinds, _) in profiles.items()}),
        "blocks": _side_by_side({name: blocks for name, (_, blocks) in profiles.items()}),
        "nodes": [node.name for node in nodes if node.name in chosen],
    }


def _side_by_side(parts: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """Milliseconds in fp32 and in int8 of everything that either has, the longest in int8 first."""
    names = sorted(
        {n for part in parts.values() for n in part}, key=lambda n: -parts["int8"].get(n, 0)
    )
    return {n: [round(parts[kind].get(n, 0.0), 3) for kind in ("fp32", "int8")] for n in names}


def page(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The measured part of benchmarks/INT8.md."""
    lines = []
    for student, result in record.items():
        dot = {"avx512_vnni", "avx_vnni", "asimddp", "i8mm", "amx_int8"} & set(result["flags"])
        has = f"with {', '.join(sorted(dot))}" if dot else "without integer dot products"
        lines.append(
            f"{student} on {result['cpu']} ({has}), onnxruntime {result['onnxruntime']}, "
            f"{result['size']} px, one thread."
        )
    machines = list(dict.fromkeys(line.partition(" on ")[2] for line in lines))
    table = _table(
        [
            "student",
            "nodes in int8",
            "fp32, ms",
            "int8, ms",
            "int8 / fp32",
            "target",
            "file, int8 / fp32",
        ],
        [
            [
                student,
                str(len(result["nodes"])),
                f"{result['ms']['fp32']:.2f}",
                f"{result['ms']['int8']:.2f}",
                f"{result['time_ratio']:.2f}",
                f"{TARGETS[student]:.2f}" if student in TARGETS else "",
                f"{result['bytes']['int8'] / result['bytes']['fp32']:.2f}",
            ]
            for student, result in record.items()
        ],
    )
    levels = _table(
        ["all nodes of the kinds", *record],
        [[level, *(f"{r['levels'][level]:.2f}" for r in record.values())] for level in LEVELS],
    )
    parts = [*(f"Measured on {line}" for line in machines), table]
    parts += ["Whole kinds of nodes in int8, time over fp32:", levels]
    for student, result in record.items():
        if result["time_ratio"] > TARGETS.get(student, 1.0):
            parts.append(f"### {student}: where the time goes, ms per image")
            for what in ("kernels", "blocks"):
                rows = [
                    [name, f"{fp32:.3f}", f"{int8:.3f}"]
                    for name, (fp32, int8) in result[what].items()
                    if max(fp32, int8) >= 0.02
                ]
                parts.append(_table([what.removesuffix("s"), "fp32", "int8"], rows))
    return "\n\n".join(parts)


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


def keep(record: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the record, the exporter's policy, and the page."""
    ordered = dict(sorted(record.items()))
    write_json(RECORD, ordered)
    wanted = ("size", "cpu", "onnxruntime", "time_ratio", "nodes")
    policy = {name: {key: result[key] for key in wanted} for name, result in ordered.items()}
    write_json(POLICY_FILE, policy)
    write_between(PAGE, MARK, page(ordered))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "students", nargs="*", metavar="STUDENT", help=f"default: {', '.join(TARGETS)}"
    )
    parser.add_argument("--size", type=whole(32, 1024), default=SIZE, help="input side, pixels")
    parser.add_argument(
        "--rounds", type=whole(1, 1000), default=25, help="interleaved runs per comparison"
    )
    parser.add_argument(
        "--passes", type=whole(1, 100), default=1, help="times every block is tried"
    )
    parser.add_argument("--write", action="store_true", help="write the policy and the page")
    parser.add_argument(
        "--again", action="store_true", help="measure the recorded policy once more"
    )
    given = parser.parse_args()
    unknown = sorted(set(given.students) - set(STUDENTS))
    if unknown:
        parser.error(f"no student {unknown[0]!r}; choose from {', '.join(STUDENTS)}")
    if given.write and given.size != SIZE:
        parser.error(
            f"--write keeps one policy for all sizes, found at {SIZE} px: leave --size out"
        )
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    now = moment()
    here = dict(machine(now, now, datetime.now(UTC)))
    for student in given.students or TARGETS:
        entry = record.get(student, {})
        same = all(entry.get(key) == here[key] for key in ("cpu", "flags", "onnxruntime"))
        if given.write and same and not given.again:
            print(
                f"{student}: measured before, {entry['time_ratio']:.2f}; --again measures it anew"
            )
            continue
        measured = measure(student, given.size, given.rounds, given.passes)
        print(page({student: measured}), flush=True)
        if given.write:
            record[student] = measured
            keep(record)


if __name__ == "__main__":
    run_script(main)
