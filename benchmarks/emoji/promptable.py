"""Classes that a student never had an image of, by their names alone: record and table.

    for student in mobilenet efficientnet resnet18; do
        edgedistill run recipes/${student}_scipd.toml --name $student
        edgedistill run recipes/${student}_scipd.toml --name $student-start --set train.steps=0
    done
    python -m benchmarks.emoji.promptable mobilenet mobilenet-start efficientnet ...

Gives each finished run the unknown classes of `emoji`, as `edgedistill export --classes` does, and
answers the images of its target domain: those of the given classes, and those of the classes of the
training, which are now the unknown ones. Writes benchmarks/emoji/promptable.json and the parts of
docs/how-to/give-other-classes.md and README.md between `<!-- promptable -->` marks.
`--render` writes them from the record.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.marked import write_between
from benchmarks.script import read_record, run_script
from edgedistill._utils.atomic import write_json
from edgedistill.data.images import LabelledImages
from edgedistill.data.protocols.resolve import OpenSetSplit
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import UsageError
from edgedistill.export.finished import FinishedRun
from edgedistill.export.images import ExportImages
from edgedistill.export.measure import measure_answers
from edgedistill.export.promptable import with_classes
from edgedistill.export.verify import torch_answers
from edgedistill.openset import evaluate
from edgedistill.runs.finished import load_finished
from edgedistill.runs.folder import RunFolder
from edgedistill.runs.lookup import find_run
from edgedistill.teacher.open_clip import load_teacher
from edgedistill.teacher.text import encode_class_texts
from edgedistill.teacher.zero_shot import zero_shot

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_suffix(".json")
PAGE, README = ROOT / "docs" / "how-to" / "give-other-classes.md", ROOT / "README.md"
MARK = "<!-- promptable -->"
_RATES = ("accuracy", "auroc", "known_acceptance", "unknown_rejection")


def measure(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """The record of runs of one dataset and target. Raises UsageError for others."""
    dataset = ExportImages(runs[0], runs[0].recipe.student.size).dataset
    for run in runs:
        if run.recipe.data != runs[0].recipe.data or run.recipe.teacher != runs[0].recipe.teacher:
            raise UsageError(f"{run.path}: is of other data or another teacher than the first run")
    rows = [_student(run, dataset) for run in runs]
    return {
        "domain": dataset.split.target,
        "classes": list(dataset.split.unknown),
        "images": len(dataset.split.target_unknown),
        "other_classes": len(dataset.split.known),
        "other_images": len(dataset.split.target_known),
        "teacher": _teacher(runs[0], dataset),
        "students": sorted(rows, key=lambda row: (row["student"], row["steps"])),
    }


def _student(run: FinishedRun, dataset: OpenSetSplit) -> dict[str, Any]:
    names = {name: list(dataset.index.names[name]) for name in dataset.split.unknown}
    prompted = with_classes(run, names)
    images = swapped(dataset, run.recipe.student.size)
    threshold = prompted.calibration.threshold
    answers = torch_answers(prompted, images.images, threshold)
    rates = measure_answers(answers, images.labels, threshold)
    return {
        "student": run.recipe.student.model,
        "weights": run.recipe.student.weights,
        "method": run.recipe.method.name,
        "steps": run.recipe.train.steps,
        "keep": prompted.calibration.target_keep_rate,
        **{name: rates[name] for name in _RATES},
    }


def _teacher(run: FinishedRun, dataset: OpenSetSplit) -> dict[str, Any]:
    section = run.recipe.teacher
    assert section.model is not None
    teacher = load_teacher(section.model, section.pretrained, torch.device("cpu"))
    prompts = run.recipe.prompts.model_copy(update={"names": {}})
    text = encode_class_texts(prompts, dataset.split.unknown, dataset.index.names, teacher)
    outputs = zero_shot(teacher, text, swapped(dataset, teacher.size))
    rates = evaluate(outputs, threshold=-np.inf, known=dataset.split.unknown)
    return {"name": teacher.name, "accuracy": rates["accuracy"], "auroc": rates["auroc"]}


def swapped(dataset: OpenSetSplit, size: int) -> LabelledImages:
    """The target's images, the unknown classes as known ones in their order, the known as -1."""
    index, split = dataset.index, dataset.split
    images = open_store(index, size).images(dataset.target)
    label = np.full(len(index.classes), -1, np.int64)
    for number, name in enumerate(split.unknown):
        label[index.class_id(name)] = number
    return LabelledImages(images, label[index.label[images.rows]])


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    chance, teacher = 1 / len(record["classes"]), record["teacher"]
    rows = [
        [f"teacher {teacher['name']}", _percent(teacher["accuracy"]), _percent(teacher["auroc"])]
    ]
    for row in record["students"]:
        what = f"{row['method']}, {row['steps']} steps" if row["steps"] else "start weights alone"
        carried = f"{_percent(row['known_acceptance'])} / {_percent(row['unknown_rejection'])}"
        rows.append(
            [
                f"{row['student']}, {what}",
                _percent(row["accuracy"]),
                _percent(row["auroc"]),
                carried,
            ]
        )
    rows.append(["chance", _percent(chance), "50.0"])
    keep = {row["keep"] for row in record["students"]}
    asked = ", ".join(f"{100 * share:g} %" for share in sorted(keep))
    header = ["", "accuracy", "AUROC", "carried-over threshold: kept / rejected"]
    return "\n".join(
        [
            f"| {' | '.join(header)} |",
            "|---|---:|---:|---:|",
            *(f"| {' | '.join([*row, *[''] * (4 - len(row))])} |" for row in rows),
            "",
            f"Per cent of {record['images']} images of {len(record['classes'])} classes in the "
            f"style `{record['domain']}`; no image of these classes or of this style was trained "
            f"on. Unknown are the {record['other_images']} images of the "
            f"{record['other_classes']} classes of the training. The carried-over threshold keeps "
            f"{asked} of source validation. `python -m benchmarks.emoji.promptable` wrote this.",
        ]
    )


def summary(record: dict[str, Any]) -> str:
    """The accuracies in a sentence."""
    parts = [
        f"{row['student']} {_percent(row['accuracy'])} % {_how(row)}" for row in record["students"]
    ]
    chance = _percent(1 / len(record["classes"]))
    return (
        f"On {len(record['classes'])} classes that no student had an image of, in a style that "
        f"none was trained on, right are: the teacher {_percent(record['teacher']['accuracy'])} %, "
        f"{', '.join(parts)}; chance is {chance} %."
    )


def _how(row: dict[str, Any]) -> str:
    return f"after {row['steps']} steps" if row["steps"] else "with its start weights alone"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="*", metavar="RUN", help="finished runs, by name or folder")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs lie")
    parser.add_argument("--render", action="store_true", help="write the pages from the record")
    given = parser.parse_args()
    if given.render == bool(given.run):
        raise UsageError("give finished runs to measure, or --render alone")
    if given.run:
        folders = [find_run(name, given.runs) for name in given.run]
        write_json(RECORD, measure([load_finished(RunFolder(path)) for path in folders]))
    record = read_record(RECORD, "python -m benchmarks.emoji.promptable RUN ...")
    write_between(PAGE, MARK, table(record))
    write_between(README, MARK, summary(record))


if __name__ == "__main__":
    run_script(main)
