"""Which nodes of a student pay in int8 on this CPU: measured, and written down for the exporter.

    python benchmarks/int8_policy.py                       # all students, a table
    python benchmarks/int8_policy.py resnet18 --write      # and keep what was found

On an otherwise idle machine, with one thread and one image at a time. First whole kinds of nodes
are tried (all pointwise convolutions, all convolutions, activations, squeeze-and-excitation), then
every block alone is tried with each kind, keeping what makes the whole file faster. Every choice
compares medians of interleaved runs. The weights are random: speed does not depend on them, and
whether answers suffer is for the export to say, on real images.
"""

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import nn

from edgedistill.atomic import write_json
from edgedistill.cli.tables import print_table
from edgedistill.export.graph import export_graph
from edgedistill.export.int8 import observe, ranges
from edgedistill.export.latency import interleaved, ratio
from edgedistill.export.module import Deployed
from edgedistill.export.policy import POLICY_FILE, block_of, node_kinds
from edgedistill.export.quantise import Ranges, merge_relu, quantise
from edgedistill.methods.heads import LinearHead
from edgedistill.students import STUDENTS, Student, build_backbone

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
        return quantise(merge_relu(self.model, names), names, self.ranges).SerializeToString()


def prepare(student: str, size: int) -> Subject:
    """The student with random weights and batch norms that fit them, so that no value vanishes."""
    torch.manual_seed(0)
    backbone, width = build_backbone(student)
    module = Student(backbone, LinearHead(width, 100))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (4, 7, 7, 3), dtype=np.uint8)
    images = blocks.repeat(-(-size // 7), 1).repeat(-(-size // 7), 2)[:, :size, :size]
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    deployed = Deployed(module, "max_logit", None)
    with torch.no_grad():
        deployed.train()
        deployed(torch.from_numpy(np.ascontiguousarray(images)), torch.tensor(0.0))
    deployed.eval().requires_grad_(False)
    model = export_graph(deployed, size, 100, 0.0)
    kinds = node_kinds(model.graph)
    everything = {n for n, kind in kinds.items() if kind in LEVELS["all"]}
    seen = observe(model, everything, images)
    return Subject(model, kinds, ranges(seen.extremes, 1.0), images[:1])


def search(subject: Subject, rounds: int, passes: int) -> tuple[frozenset[str], list[list[str]]]:
    """The fastest set of nodes found, and a row per level tried on the whole student."""
    files = {level: subject.file(subject.nodes(level)) for level in LEVELS}
    seconds = interleaved(files, subject.images, rounds)
    rows = [
        [level, str(len(subject.nodes(level))), f"{ratio(seconds, level, 'float'):.2f}"]
        for level in LEVELS
    ]
    best = min(LEVELS, key=lambda level: float(np.median(seconds[level])))
    chosen = subject.nodes(best)
    blocks = list(dict.fromkeys(block_of(name) for name in subject.kinds))
    for number in range(passes):
        before = chosen
        for block in blocks:
            chosen = _improve(subject, chosen, block, rounds)
        print(f"  pass {number + 1}: {len(chosen)} nodes", flush=True)
        if chosen == before:
            break
    return chosen, rows


def _improve(subject: Subject, chosen: frozenset[str], block: str, rounds: int) -> frozenset[str]:
    """The best of all levels for one block, the others as they are."""
    others = frozenset(name for name in chosen if block_of(name) != block)
    options = {others | subject.nodes(level, block) for level in LEVELS} - {chosen}
    if not options:
        return chosen
    sets = {"now": chosen} | {str(i): o for i, o in enumerate(sorted(options, key=sorted))}
    files = {name: subject.file(nodes) for name, nodes in sets.items()}
    seconds = interleaved(files, subject.images, rounds)
    best = min(sets, key=lambda name: float(np.median(seconds[name])))
    return sets[best] if ratio(seconds, best, "now") < KEEP else chosen


def profile(model: bytes, images: NDArray[np.uint8], runs: int = 30) -> dict[str, float]:
    """Milliseconds per run in each kind of kernel, by onnxruntime's own profiler."""
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
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / runs
    return dict(spent)


def processor() -> str:
    """The CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found.group(1).strip() if found else "unknown"


def measure(student: str, size: int, rounds: int, passes: int) -> dict[str, object]:
    """Search one student, print what was found, and return its entry of the policy."""
    print(f"{student}, {size} px", flush=True)
    subject = prepare(student, size)
    chosen, rows = search(subject, rounds, passes)
    files = {"float": subject.file(()), "int8": subject.file(chosen)}
    seconds = interleaved(files, subject.images, 4 * rounds)
    found = ratio(seconds, "int8", "float")
    rows.append(["chosen per block", str(len(chosen)), f"{found:.2f}"])
    print_table(f"{student}: int8 / fp32", ["in int8", "nodes", "time"], rows)
    spent = {name: profile(model, subject.images) for name, model in files.items()}
    kinds = sorted({*spent["float"], *spent["int8"]}, key=lambda k: -spent["int8"].get(k, 0))
    print_table(
        f"{student}: ms per image in each kernel",
        ["kernel", "fp32", "int8"],
        [[k, *(f"{spent[n].get(k, 0):.3f}" for n in ("float", "int8"))] for k in kinds],
    )
    order = [node.name for node in subject.model.graph.node if node.name in chosen]
    return {
        "size": size,
        "time_ratio": round(found, 3),
        "fp32_ms": round(1000 * float(np.median(seconds["float"])), 2),
        "cpu": processor(),
        "onnxruntime": onnxruntime.__version__,
        "nodes": order,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("students", nargs="*", metavar="STUDENT", help="default: all")
    parser.add_argument("--size", type=int, default=224, help="input side, pixels")
    parser.add_argument("--rounds", type=int, default=25, help="interleaved runs per comparison")
    parser.add_argument("--passes", type=int, default=2, help="times every block is tried")
    parser.add_argument(
        "--write", action="store_true", help=f"keep the choice in {POLICY_FILE.name}"
    )
    given = parser.parse_args()
    unknown = sorted(set(given.students) - set(STUDENTS))
    if unknown:
        parser.error(f"no student {unknown[0]!r}; choose from {', '.join(STUDENTS)}")
    policy = json.loads(POLICY_FILE.read_text(encoding="utf-8")) if POLICY_FILE.is_file() else {}
    for student in given.students or list(STUDENTS):
        policy[student] = measure(student, given.size, given.rounds, given.passes)
        if given.write:
            write_json(POLICY_FILE, dict(sorted(policy.items())))


if __name__ == "__main__":
    main()
