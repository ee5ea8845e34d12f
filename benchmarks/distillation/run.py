"""Distillation methods compared: tuned inside the sources, trained with several seeds, tabulated.

For every cell of settings.toml (a method with a student, start weights and a target): a few short
trials that never open the target, then a run per seed with what the best of them had. Every
finished training is a line of a record, so that killing this loses only what is in progress.

    python -m benchmarks.distillation.run run --jobs 2 --generic mobilenet_v3_small=FILE
    python -m benchmarks.distillation.run run --only student=resnet18 --only target=line,camera
    python -m benchmarks.distillation.run estimate --jobs 2     # the time that is left
    python -m benchmarks.distillation.run render                # the tables of README.md

Trainings have one thread each, so that the numbers do not depend on --jobs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.distillation.plan import (
    AXES,
    Cell,
    Job,
    Row,
    Settings,
    cells_of,
    chosen,
    read_settings,
    row_id,
    runs_of,
    trials_of,
)
from benchmarks.distillation.tables import MARK, document
from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script, whole
from edgedistill._utils.atomic import write_text
from edgedistill._utils.locks import lock
from edgedistill.callbacks import Callback, Stage, reporting
from edgedistill.errors import (
    DivergedError,
    EdgeDistillError,
    OutputError,
    TrainingError,
)
from edgedistill.recipe import Recipe
from edgedistill.sweep.drive import format_duration

if TYPE_CHECKING:
    from edgedistill.data.images import LabelledImages
    from edgedistill.export.finished import FinishedRun
    from edgedistill.openset import Outputs

ROOT = Path(__file__).parents[2]
SETTINGS, RECORD = (Path(__file__).with_name(n) for n in ("settings.toml", "results.json"))
PAGE = Path(__file__).with_name("README.md")
COMMAND = "python -m benchmarks.distillation.run run"
Rows = dict[tuple[Any, ...], Row]


def end_with_parent() -> None:
    """End this process when its parent does, killed or not: nobody would record its result.

    Ctrl-C reaches both, and is the parent's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class TrainingClock(Callback):
    """Processor time of the training, which other processes of the machine hardly change."""

    def __init__(self) -> None:
        self.seconds = self._began = 0.0

    def on_stage(self, stage: Stage) -> None:
        if stage is Stage.TRAIN:
            self._began = time.process_time()
        elif stage is Stage.CALIBRATE:
            self.seconds = time.process_time() - self._began


def measured(job: Job, folder: Path, keep_rates: Sequence[float]) -> dict[str, Any]:
    """A training, and its row of the record. Raises EdgeDistillError."""
    import torch

    from edgedistill.runs.pipeline import run_pipeline

    torch.set_num_threads(1)
    row: dict[str, Any] = {"kind": job.kind, **job.cell._asdict(), "number": job.number}
    row |= {"key": job.key, "steps": job.recipe.train.steps, "fields": job.fields}
    began, clock = time.monotonic(), TrainingClock()
    try:
        with reporting([clock]):
            metrics, state = run_pipeline(job.recipe, folder, report=False)
    except DivergedError:
        row |= {"diverged": True, "scores": {}, "training_seconds": None}
    else:
        target = metrics["target"]
        row |= {
            "source_val_accuracy": round(metrics["source_val"]["accuracy"], 4),
            "accuracy": round(target["accuracy"], 4),
            # Of a run that was resumed, the time of its first part is not known.
            "training_seconds": round(clock.seconds, 1) if state == "new" else None,
        }
        scores = scores_of(job.recipe, folder, keep_rates)
        if job.kind == "trial":
            row["scores"] = scores
        else:
            score = metrics["openset"]["score"]
            row |= {
                "score": score,
                **scores[score],
                "oracle_h_score": round(target["oracle_h_score"], 4),
            }
    return row | {"seconds": round(time.monotonic() - began, 1)}


def scores_of(recipe: Recipe, folder: Path, keep_rates: Sequence[float]) -> dict[str, Any]:
    """Rejection by every score that a finished run's student has.

    Returns:
        Score -> deployed H-scores and shares of known images accepted at each of `keep_rates`,
        AUROC, and the best H-score of any threshold.
    """
    from edgedistill.data.protocols.resolve import resolve_split
    from edgedistill.data.store.image_store import open_store
    from edgedistill.openset import calibrate, evaluate
    from edgedistill.runs.finished import load_finished
    from edgedistill.runs.folder import RunFolder

    finished, dataset = load_finished(RunFolder(folder)), resolve_split(recipe.data)
    store = open_store(dataset.index, recipe.student.size)
    val, target = (
        answers(finished, dataset.label(store.images(rows)))
        for rows in (dataset.split.val, dataset.target)
    )
    results: dict[str, Any] = {}
    for score, outputs in target.items():
        at = [
            evaluate(outputs, threshold=calibrate(val[score].scores, keep), known=finished.classes)
            for keep in keep_rates
        ]
        results[score] = {
            "h_scores": [round(metrics["h_score"], 4) for metrics in at],
            "known_acceptance": [round(metrics["known_acceptance"], 4) for metrics in at],
            "best_h_score": round(at[0]["best_h_score"], 4),
            "auroc": round(at[0]["auroc"], 4),
        }
    return results


def answers(
    finished: FinishedRun, labelled: LabelledImages, batch: int = 256
) -> dict[str, Outputs]:
    """Score -> a student's answers to images, of one pass through the student."""
    import torch

    from edgedistill.openset import Outputs, ProbabilityRange
    from edgedistill.openset.head import OpenSetHead
    from edgedistill.registries import SCORES

    student, text = finished.student, finished.method.text
    heads = {
        score: OpenSetHead.with_texts(score, text, mean=student.mean, std=student.std)
        for score, entry in SCORES.items()
        if (finished.method.projects or not entry.needs_texts)
        and not (entry.needs_vocabulary and (text is None or text.vocabulary is None))
    }
    parts: dict[str, list[tuple[torch.Tensor, ...]]] = {score: [] for score in heads}
    with torch.no_grad():
        for start in range(0, len(labelled), batch):
            pixels = torch.from_numpy(np.array(labelled.images[start : start + batch]))
            out = student(finished.openset.normalize(pixels))
            for score, head in heads.items():
                parts[score].append(head(out.logits, out.projected).condensed())
    results = {}
    for score, batches in parts.items():
        label, scores, top, highest, lowest = (
            torch.cat(column).numpy() for column in zip(*batches, strict=True)
        )
        probabilities = ProbabilityRange(top, highest, lowest, len(finished.classes))
        results[score] = Outputs(label, scores, probabilities, labelled.labels)
    return results


class Queue:
    """The trainings that are left, in the order of the cells; a cell's runs follow its trials."""

    def __init__(
        self, settings: Settings, cells: Sequence[Cell], weights: Mapping[str, Path], rows: Rows
    ) -> None:
        self.settings, self.weights, self.rows = settings, weights, rows
        self.trials = {cell: trials_of(settings, cell, weights) for cell in cells}
        self.runs: dict[Cell, list[Job]] = {}
        self.taken: set[str] = set()

    def finished(self, job: Job) -> bool:
        """Whether the record has a job's row, of the same recipe and weights."""
        row = self.rows.get((job.kind, *job.cell, job.number))
        return row is not None and row["key"] == job.key

    def left(self, cell: Cell) -> list[Job]:
        """Jobs of a cell that can be done now: the trials, or the runs once these are finished."""
        trials = [job for job in self.trials[cell] if not self.finished(job)]
        if trials:
            return trials
        if cell not in self.runs:
            results = [self.rows[(job.kind, *cell, job.number)] for job in self.trials[cell]]
            self.runs[cell] = runs_of(self.settings, cell, self.weights, results)
        return [job for job in self.runs[cell] if not self.finished(job)]

    def next(self) -> Job | None:
        """A job that nobody has taken yet; None while, or because, there is none."""
        for cell in self.trials:
            for job in self.left(cell):
                if job.name not in self.taken:
                    self.taken.add(job.name)
                    return job
        return None

    def left_in_all(self) -> list[tuple[str, Cell, int]]:
        """Kind, cell and number of the trainings that are not finished."""
        counts: list[tuple[str, Cell, int]] = []
        for cell in self.trials:
            pending = self.left(cell)
            if pending:
                counts.append((pending[0].kind, cell, len(pending)))
            if pending and pending[0].kind == "trial":
                # Runs of the record may turn out to be those that the trials choose.
                seeds = [s for s in self.settings.seeds if ("run", *cell, s) not in self.rows]
                counts.append(("run", cell, len(seeds)))
        return counts


def time_left(queue: Queue, jobs: int) -> tuple[int, str]:
    """How many trainings are left, and how long they take, from those of the record."""
    rows, settings = list(queue.rows.values()), queue.settings
    steps = {"trial": settings.trial_steps, "run": settings.steps}
    total, seconds, unmeasured = 0, 0.0, set()
    for kind, cell, number in queue.left_in_all():
        total += number
        alike = [
            row
            for row in rows
            if row["student"] == cell.student and row["steps"] and row["training_seconds"]
        ]
        # Of the same method and length, or else what is nearest to that.
        for field, value in (("method", cell.method), ("kind", kind)):
            alike = [row for row in alike if row[field] == value] or alike
        if alike:
            # The steps of a training, and all that stands around them.
            each = fmean(
                row["seconds"] + row["training_seconds"] * (steps[kind] / row["steps"] - 1)
                for row in alike
            )
            seconds += number * each / jobs
        else:
            unmeasured.add(cell.student)
    text = f"about {format_duration(seconds)}"
    if unmeasured:
        text += f" and what {', '.join(sorted(unmeasured))} takes, of which none is measured yet"
    return total, text


def work(settings: Settings, cells: Sequence[Cell], options: argparse.Namespace) -> None:
    """Do what is left. Raises TrainingError when trainings failed, after all others are done."""
    queue = Queue(settings, cells, dict(options.generic), read_rows(options.record))
    failed: dict[str, str] = {}
    running: dict[Future[dict[str, Any]], Job] = {}
    total, text = time_left(queue, options.jobs)
    print(f"{total} trainings, {text}; record: {options.record}", flush=True)
    # Of this process too: the children inherit it before they start.
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(
        options.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=end_with_parent
    )
    try:
        while True:
            while len(running) < options.jobs and (job := queue.next()) is not None:
                folder = options.runs / job.name
                running[pool.submit(measured, job, folder, settings.keep_rates)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    row = future.result()
                except EdgeDistillError as error:
                    failed[job.name] = str(error)
                    print(f"{job.name}: FAILED, {error}", flush=True)
                    continue
                queue.rows = add_row(options.record, row)
                if job.kind == "trial":
                    # What it was for is in the record.
                    shutil.rmtree(options.runs / job.name, ignore_errors=True)
                left, text = time_left(queue, options.jobs)
                print(f"{job.name}: {_outcome(row)}; {left} left, {text}", flush=True)
    except KeyboardInterrupt:
        # A training saves its state at this, and everything else ends.
        for child in multiprocessing.active_children():
            child.terminate()
        print("stopped; the same command goes on", flush=True)
        raise SystemExit(130) from None
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        name, reason = next(iter(failed.items()))
        raise TrainingError(f"{len(failed)} trainings failed, the first {name}: {reason}")


def _outcome(row: Row) -> str:
    if row.get("diverged"):
        return "diverged"
    worth = chosen([row])["worth"] if row["kind"] == "trial" else fmean(row["h_scores"])
    return (
        f"accuracy {100 * row['accuracy']:.1f}, H {100 * worth:.1f}, "
        f"{format_duration(row['seconds'])}"
    )


def read_rows(record: Path) -> Rows:
    """The rows of a record by what they are of; none where it is not there yet."""
    rows = read_record(record, COMMAND)["rows"] if record.exists() else []
    return {row_id(row): row for row in rows}


def add_row(record: Path, row: Row) -> Rows:
    """Put a row into the record, in the place of an earlier one of the same; all rows of it."""
    advice = "choose another --record"
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{record.parent}: {error.strerror}; {advice}") from None
    # Several of these may be at work on different parts.
    with lock(record.with_name(f".{record.name}.lock"), OutputError, advice):
        rows = read_rows(record)
        rows[row_id(row)] = row
        inner = ",\n".join(f"  {json.dumps(value)}" for value in rows.values())
        write_text(record, f'{{\n "rows": [\n{inner}\n ]\n}}\n')
    return rows


def generic(text: str) -> tuple[str, Path]:
    """`STUDENT=FILE` for argparse."""
    student, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text!r}: give STUDENT=FILE, a file of weights")
    return student, Path(path).resolve()


def part(text: str) -> tuple[str, list[str]]:
    """`AXIS=VALUE,...` for argparse."""
    axis, equals, values = text.partition("=")
    if not equals or axis not in AXES:
        raise argparse.ArgumentTypeError(f"{text!r}: give one of {', '.join(AXES)}, =VALUE,...")
    return axis, values.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "estimate", "render"))
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--record", type=Path, default=RECORD, help="JSON file of all trainings")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "distillation")
    parser.add_argument("--jobs", type=whole(1, 1024), default=1, help="trainings at a time")
    parser.add_argument(
        "--generic",
        type=generic,
        action="append",
        default=[],
        metavar="STUDENT=FILE",
        help="start weights without the teacher's knowledge",
    )
    parser.add_argument(
        "--only", type=part, action="append", default=[], metavar="AXIS=VALUE,...", help="a part"
    )
    options = parser.parse_args()
    settings = read_settings(options.settings)
    if options.command == "render":
        text = document(read_record(options.record, COMMAND), settings)
        if options.record.resolve() == RECORD:
            write_between(PAGE, MARK, text)
        else:
            print(text)
        return
    cells = cells_of(settings, dict(options.only))
    if options.command == "estimate":
        queue = Queue(settings, cells, dict(options.generic), read_rows(options.record))
        total, text = time_left(queue, options.jobs)
        print(f"{total} trainings, {text}")
        return
    work(settings, cells, options)


if __name__ == "__main__":
    run_script(main)
