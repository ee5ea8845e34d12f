"""The icon benchmark end to end, where the embedded teacher is one to be warned of."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("justmyresource_mdi")

import edgedistill as ed
from edgedistill.data.icons import dataset as icons

RECIPE = Path(__file__).parents[2] / "recipes" / "icons_mobilenet_scipd.toml"
GLYPHS = 8


class Warnings(ed.Callback):
    """Collects warnings."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_warning(self, message: str) -> None:
        self.lines.append(message)


@pytest.mark.slow
def test_a_short_run_ends_and_says_that_the_teacher_is_weak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(icons, "build_icons", partial(icons.build_icons, limit=GLYPHS))
    warnings = Warnings()
    run = ed.run(
        RECIPE,
        out=tmp_path / "run",
        overrides={
            # Half of the sources: enough images for the teacher to be judged by.
            "data.val_fraction": 0.5,
            "train.steps": 2,
            "train.batch_per_domain": 4,
            "views.count": 1,
        },
        callbacks=[warnings],
    )
    check = run.metrics["teacher_check"]
    assert check["verdict"] == "names"
    assert check["accuracy"] < check["probe_accuracy"] - 0.1
    assert [line for line in warnings.lines if f"{100 * check['accuracy']:.1f} %" in line]
    assert run.metrics["target"]["images_known"] > 100
