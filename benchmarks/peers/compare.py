"""A student beside its peers and its teacher: answers, time and size, all measured in one run.

    python -m benchmarks.peers.compare runs/NAME              # one table per finished run
    python -m benchmarks.peers.compare runs/NAME --threads 2 --rounds 40
    python -m benchmarks.peers.compare --render               # only the tables, from peers.json

Contenders: the files of `edgedistill export` in fp32 and int8, torch.onnx.export with its defaults
in onnxruntime, PyTorch as it is and compiled, OpenVINO (pip install openvino; left out without it),
and the zero-shot teacher in onnxruntime. Every one answers source validation and the target one
image at a time, gets the threshold that keeps the recipe's share of source validation, and is timed
from one uint8 image of its input size to score and probabilities, all taking turns. Every round
loads all of them afresh, and compiles the compiled one again, which takes most of the time. Needs
the images of the run and the weights of its teacher, and an idle machine.

Numbers go to benchmarks/peers/peers.json and from there into benchmarks/peers/RESULTS.md, between
`<!-- peers -->` marks. With --record FILE the tables are printed, and no document is touched.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.marked import write_between
from benchmarks.peers import contenders
from benchmarks.peers.contenders import Contender
from benchmarks.peers.peers_tables import peers_document
from benchmarks.peers.worth import evaluate, shares_of
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.bench.timing import measure, ratio, self_ratio, timing
from edgedistill.errors import EdgeDistillError
from edgedistill.export.build import export_fp32, export_int8
from edgedistill.export.finished import FinishedRun
from edgedistill.export.images import ExportImages
from edgedistill.export.onnx.module import Deployed
from edgedistill.recipe.load import teacher_model
from edgedistill.runs.finished import load_finished
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.stages.prepare import class_texts
from edgedistill.teacher.open_clip import load_teacher

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("peers.json")
MARK = "<!-- peers -->"
TEACHER = "teacher, zero-shot"


def compare(path: Path, threads: int, rounds: int) -> dict[str, Any]:
    """One run's entry of the record. Raises EdgeDistillError when a needed part fails."""
    run = load_finished(RunFolder(path))
    with tempfile.TemporaryDirectory() as place:
        all_contenders, skipped = gather(run, Path(place), threads)
        quality = worth(run, all_contenders)
        times = take_turns(all_contenders, rounds)
    recipe = run.recipe
    return {
        "run": run.path.name,
        "student": recipe.student.model,
        "method": recipe.method.name,
        "weights": recipe.student.weights,
        "target": recipe.data.target,
        "seed": recipe.seed,
        "teacher": recipe.teacher.model,
        "score": run.calibration.score,
        "acceptance": run.calibration.target_keep_rate,
        "threads": threads,
        "rounds": rounds,
        "noise": times.pop("noise"),
        "skipped": skipped,
        "contenders": [
            {
                "name": contender.name,
                "size": contender.size,
                "bytes": contender.bytes,
                **quality[contender.name],
                **times[contender.name],
            }
            for contender in all_contenders
        ],
    }


def gather(run: FinishedRun, folder: Path, threads: int) -> tuple[list[Contender], list[str]]:
    """Contenders, the teacher last, and why others are not among them."""
    size = run.recipe.student.size
    fp32, int8 = folder / "student.onnx", folder / "student-int8.onnx"
    export_fp32(run, fp32)
    data = fp32.read_bytes()
    module = Deployed(run.student, run.openset)
    section = run.recipe.teacher
    teacher = load_teacher(teacher_model(section), section.pretrained, torch.device("cpu"))
    text = class_texts(run.recipe.prompts, ExportImages(run, size).dataset, teacher)

    wanted: list[Callable[[], Contender]] = [
        lambda: contenders.exported("EdgeDistill fp32", data, size, threads),
        lambda: contenders.plain_export("torch.onnx.export", module, size, folder, threads),
        lambda: contenders.eager("PyTorch", module, size, threads),
        lambda: contenders.compiled("torch.compile", module, size, threads),
        lambda: contenders.openvino("OpenVINO fp32", data, size, threads),
    ]
    all_contenders, skipped = [], []
    try:
        export_int8(run, int8)
    except EdgeDistillError as error:
        skipped.append(str(error))
    else:
        whole = int8.read_bytes()
        wanted += [
            lambda: contenders.exported("EdgeDistill int8", whole, size, threads),
            lambda: contenders.openvino("OpenVINO int8", whole, size, threads),
        ]
    for make in wanted:
        try:
            all_contenders.append(make())
        except EdgeDistillError as error:
            skipped.append(str(error))
    all_contenders.append(contenders.zero_shot_teacher(TEACHER, teacher, text, folder, threads))
    skipped = list(dict.fromkeys(skipped))
    for reason in skipped:
        print(f"left out: {reason}", file=sys.stderr)
    return all_contenders, skipped


def worth(run: FinishedRun, all_contenders: list[Contender]) -> dict[str, dict[str, Any]]:
    """Metrics of every contender, and their shares of the teacher's."""
    figures, scored = {}, {}
    images = {
        size: ExportImages(run, size) for size in {contender.size for contender in all_contenders}
    }
    for contender in all_contenders:
        here = images[contender.size]
        target = here.target()
        figures[contender.name], scored[contender.name] = evaluate(
            contender.answers(here.validation().images),
            contender.answers(target.images),
            target.labels,
            run.calibration.target_keep_rate,
        )
    shares = shares_of(scored, TEACHER, figures)
    return {name: {**figures[name], "over_teacher": shares[name]} for name in figures}


def take_turns(all_contenders: list[Contender], rounds: int) -> dict[str, Any]:
    """Times by contender, and under "noise" the teacher against itself."""
    rng = np.random.default_rng(0)
    pixels = {
        contender.size: rng.integers(0, 256, (1, contender.size, contender.size, 3), dtype=np.uint8)
        for contender in all_contenders
    }

    def load(contender: Contender) -> Callable[[], object]:
        return partial(contender.load(), pixels[contender.size])

    subjects = [*all_contenders, all_contenders[-1]]
    (samples,) = measure([[partial(load, contender) for contender in subjects]], rounds)
    base = samples[-2]
    noise = self_ratio(samples[-1], base)
    times: dict[str, Any] = {"noise": noise}
    for contender, own in zip(all_contenders, samples, strict=False):
        times[contender.name] = {
            "timing": timing(own, 1),
            "time_over_teacher": ratio(own, base, noise["noise"]),
        }
    return times


def versions() -> dict[str, str | None]:
    """Of what computes."""
    installed: dict[str, str | None] = {}
    for package in ("torch", "onnxruntime", "openvino", "open_clip_torch", "timm"):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed[package] = None
    return installed


def record_of(paths: list[Path], threads: int, rounds: int) -> dict[str, Any]:
    """peers.json."""
    date, before = datetime.now(UTC), moment()
    runs = [compare(path, threads, rounds) for path in paths]
    where = machine(before, moment(), date)
    return {"machine": where, "versions": versions(), "runs": runs}


def render(record: Mapping[str, Any]) -> None:
    """The tables into benchmarks/peers/RESULTS.md."""
    write_between(ROOT / "benchmarks/peers/RESULTS.md", MARK, peers_document(record))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*", help="folders of finished runs")
    parser.add_argument("--threads", type=whole(1, 1024), default=1)
    parser.add_argument("--rounds", type=whole(6, 1000), default=20, help="interleaved rounds")
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file to write")
    parser.add_argument("--render", action="store_true", help="only write the tables again")
    options = parser.parse_args()
    if options.render == bool(options.runs):
        parser.error("give either folders of finished runs or --render")
    if not options.render:
        write_json(options.record, record_of(options.runs, options.threads, options.rounds))
    record = read_record(options.record, "python -m benchmarks.peers.compare RUN")
    if options.record.resolve() == RECORD:
        render(record)
    else:
        print(peers_document(record))


if __name__ == "__main__":
    run_script(main)
