"""The table and the sentence of classes by name say what their record says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.emoji import promptable
from benchmarks.marked import between
from benchmarks.script import read_record
from edgedistill.data.protocols.resolve import resolve_split
from edgedistill.recipe.schema import DataSection

STUDENT = {"student": "resnet18", "weights": "embedded", "method": "scipd", "keep": 0.95}
RATES = {"accuracy": 0.7, "auroc": 0.9, "known_acceptance": 0.96, "unknown_rejection": 0.4}
RECORD: dict[str, Any] = {
    "domain": "line",
    "classes": ["a", "b", "c", "d"],
    "images": 40,
    "other_classes": 3,
    "other_images": 30,
    "teacher": {"name": "t", "accuracy": 0.84, "auroc": 0.95},
    "students": [{**STUDENT, **RATES, "steps": 0}, {**STUDENT, **RATES, "steps": 200}],
}


def test_a_row_for_each_student_and_the_teacher() -> None:
    lines = promptable.table(RECORD).splitlines()
    assert "| teacher t | 84.0 | 95.0 |  |" in lines
    assert "| resnet18, start weights alone | 70.0 | 90.0 | 96.0 / 40.0 |" in lines
    assert "| resnet18, scipd, 200 steps | 70.0 | 90.0 | 96.0 / 40.0 |" in lines
    assert "| chance | 25.0 | 50.0 |  |" in lines
    for number in (40, 30, "95 %"):
        assert str(number) in lines[-1]
    assert "resnet18 70.0 % after 200 steps" in promptable.summary(RECORD)


def test_the_unknown_classes_take_the_labels_of_the_known(shapes: Any) -> None:
    data = {"dataset": str(shapes), "target": "sea", "unknown": ["star", "cross"]}
    dataset = resolve_split(DataSection(**data))
    images = promptable.swapped(dataset, 32)
    position = {name: number for number, name in enumerate(dataset.split.unknown)}
    names = [dataset.index.classes[label] for label in dataset.index.label[images.images.rows]]
    assert images.labels.tolist() == [position.get(name, -1) for name in names]
    assert np.unique(images.labels).tolist() == [-1, 0, 1]


@pytest.mark.parametrize(
    ("page", "content"),
    [(promptable.PAGE, promptable.table), (promptable.README, promptable.summary)],
)
def test_the_pages_are_those_of_the_record(page: Any, content: Any) -> None:
    text = page.read_text(encoding="utf-8")
    record = read_record(promptable.RECORD, "python -m benchmarks.emoji.promptable RUN ...")
    assert between(text, promptable.MARK, content(record), str(page)) == text
