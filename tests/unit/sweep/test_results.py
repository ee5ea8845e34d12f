"""Rows, tables, hybridness curves and pictures of a sweep, against numbers worked out by hand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedistill.report.style import png
from edgedistill.sweep.collect import write_pictures, write_results
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan
from edgedistill.sweep.plots import heat_map, radar, whole_series
from edgedistill.sweep.results import (
    collect_rows,
    format_mean_std,
    h2_cv_cells,
    hybridness_curves,
    make_table,
    to_csv,
    to_markdown,
)

PlanOf = Callable[[str], Plan]
Finish = Callable[..., None]
GRID = """
recipe = "base.toml"
[variants.method]
scipd = {}
erm = { "method.name" = "erm" }
[grid]
data.target = ["line", "camera"]
seed = [0, 1, 2]
"""
HDG = """
recipe = "base.toml"
[set]
data.protocol = "hdg"
[grid]
data.target = ["line", "camera"]
data.hybridness = ["0", "1/6", "1/3", "1"]
seed = [0, 1]
"""


def fill(plan: Plan, folder: SweepFolder, finish: Finish, value: Callable[..., float]) -> None:
    for run in plan.runs:
        finish(folder, run.name, accuracy=value(run.values), h_score=None)


def test_a_table_is_mean_and_deviation_over_seeds(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan, folder = plan_of(GRID), SweepFolder(tmp_path / "out")

    def value(at: dict[str, Any]) -> float:
        base = {"line": 0.5, "camera": 0.25}[at["data.target"]]
        return base + {0: 0.0, 1: 0.125, 2: 0.25}[at["seed"]] * (at["method"] == "erm")

    fill(plan, folder, finish, value)
    table = make_table(plan, collect_rows(plan, folder), "accuracy")
    assert (table.series, table.targets) == (("scipd", "erm"), ("line", "camera"))
    assert table.cells["scipd", "line"].mean == 0.5 and table.cells["scipd", "line"].spread == 0
    cell = table.cells["erm", "camera"]
    assert (cell.mean, cell.spread, cell.count) == (0.375, 0.125, 3)
    assert (table.means["erm"].mean, table.means["erm"].spread) == (0.5, 0.125)
    assert format_mean_std(cell) == "37.5 ± 12.5"
    text = to_markdown(plan, collect_rows(plan, folder))
    assert "| erm | 62.5 ± 12.5 | 37.5 ± 12.5 | 50.0 ± 12.5 |" in text
    assert "12 of 12 runs finished" in text and "H-score" not in text


def test_domainbed_s_spread_is_the_standard_error(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan, folder = plan_of('spread = "sem"\n' + GRID), SweepFolder(tmp_path / "out")
    fill(plan, folder, finish, lambda at: [0.3, 0.6, 0.9][at["seed"]])
    cell = make_table(plan, collect_rows(plan, folder), "accuracy").cells["erm", "line"]
    assert cell.spread == pytest.approx(np.std([0.3, 0.6, 0.9]) / np.sqrt(3))


def test_unfinished_runs_leave_gaps_and_no_wrong_means(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan, folder = plan_of(GRID), SweepFolder(tmp_path / "out")
    for name in ("scipd-line-s0", "scipd-line-s1", "scipd-camera-s1", "erm-line-s0"):
        finish(folder, name, accuracy=0.5 if name.endswith("s0") else 0.7)
    rows = collect_rows(plan, folder)
    table = make_table(plan, rows, "accuracy")
    assert ("erm", "camera") not in table.cells and "erm" not in table.means
    # The one seed that both targets have.
    assert (table.means["scipd"].mean, table.means["scipd"].count) == (0.7, 1)
    assert format_mean_std(table.means["scipd"]) == "70.0" and format_mean_std(None) == "-"
    assert [row["status"] for row in rows].count("finished") == 4
    parsed = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len(parsed) == 12 and parsed[0]["accuracy"] == "0.5"
    assert {len(row) for row in parsed} == {len(rows[0])}


def test_columns_have_one_type(plan_of: PlanOf, finish: Finish, tmp_path: Path) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        [set]
        data.protocol = "hdg"
        [grid]
        data.hybridness = [0, "1/6"]
        prompts.templates = [["a {}"], ["a {}", "the {}"]]
        """
    )
    folder = SweepFolder(tmp_path / "out")
    fill(plan, folder, finish, lambda at: 0.5)
    rows = collect_rows(plan, folder)
    for column in rows[0]:
        assert len({type(row[column]) for row in rows} - {type(None)}) <= 1, column
    assert rows[0]["prompts.templates"] == '["a {}"]' and rows[0]["data.hybridness"] == "0"
    assert rows[2]["hybridness"] == pytest.approx(1 / 6)
    assert rows[0]["teacher_accuracy"] == 0.75 and rows[0]["threshold"] == 0.25


def test_a_split_of_one_s_own_has_the_hybridness_that_its_run_found(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan = plan_of(
        'recipe = "base.toml"\nset.data.protocol = "hdg"\n'
        'set.data.classes_per_source = { camera = ["fruit"], colour = ["fruit", "fish"] }\n'
    )
    folder = SweepFolder(tmp_path / "out")
    assert collect_rows(plan, folder)[0]["hybridness"] is None
    finish(folder, "run", accuracy=0.5)
    path = folder.run("run") / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hybridness": 0.5}))
    assert collect_rows(plan, folder)[0]["hybridness"] == 0.5


def test_tuned_axes_are_chosen_by_source_validation(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan = plan_of(
        """
        recipe = "base.toml"
        tune = ["train.lr"]
        [grid]
        train.lr = [0.1, 0.2, 0.3]
        seed = [0, 1]
        """
    )
    folder = SweepFolder(tmp_path / "out")
    # Seed 0 prefers 0.2, seed 1 the last of two equals; the target would prefer 0.3.
    val = {(0.1, 0): 0.4, (0.2, 0): 0.6, (0.3, 0): 0.5, (0.1, 1): 0.7, (0.2, 1): 0.7, (0.3, 1): 0.1}
    test = {0.1: 0.2, 0.2: 0.4, 0.3: 0.9}
    for run in plan.runs:
        lr, seed = run.values["train.lr"], run.values["seed"]
        finish(folder, run.name, val=val[lr, seed], accuracy=test[lr])
    rows = collect_rows(plan, folder)
    assert rows[0]["selection_accuracy"] == 0.4
    table = make_table(plan, rows, "accuracy")
    (cell,) = table.cells.values()
    assert (cell.mean, cell.count) == (pytest.approx(0.4), 2)
    assert "best source validation" in to_markdown(plan, rows)


def test_h2_cv_and_curves_over_hybridness(plan_of: PlanOf, finish: Finish, tmp_path: Path) -> None:
    plan, folder = plan_of(HDG), SweepFolder(tmp_path / "out")
    level = {"0": 0.60, "1/6": 0.50, "1/3": 0.55, "1": 0.45}
    shift = {"line": 0.05, "camera": -0.05}
    for run in plan.runs:
        h = level[run.values["data.hybridness"]]
        finish(folder, run.name, oracle_h_score=h + shift[run.values["data.target"]], h_score=0.0)
    rows = collect_rows(plan, folder)
    (cell,) = h2_cv_cells(plan, rows, "oracle_h_score").values()
    assert (cell.mean, cell.spread) == (pytest.approx(0.1064794, abs=1e-7), pytest.approx(0))
    # All H-scores 0: there is no coefficient of variation.
    assert h2_cv_cells(plan, rows, "h_score") == {}
    (curve,) = hybridness_curves(plan, rows, "oracle_h_score").values()
    assert curve.hybridness == pytest.approx((0, 1 / 6, 1 / 3, 1))
    assert [c.mean for c in curve.cells] == pytest.approx([0.60, 0.50, 0.55, 0.45])
    text = to_markdown(plan, rows)
    assert "| scipd | - | 10.6 ± 0.0 | - |" in text and "our reading" in text
    assert "| H 1/6 | 55.0 ± 0.0 | 45.0 ± 0.0 | 50.0 ± 0.0 |" in text


def test_h2_cv_waits_for_every_hybridness(plan_of: PlanOf, finish: Finish, tmp_path: Path) -> None:
    plan, folder = plan_of(HDG), SweepFolder(tmp_path / "out")
    for run in plan.runs:
        if run.values["data.hybridness"] != "1":
            finish(folder, run.name, oracle_h_score=0.5)
    rows = collect_rows(plan, folder)
    assert h2_cv_cells(plan, rows, "oracle_h_score") == {}
    (curve,) = hybridness_curves(plan, rows, "oracle_h_score").values()
    assert len(curve.cells) == 3


def test_results_and_pictures_are_written(plan_of: PlanOf, finish: Finish, tmp_path: Path) -> None:
    plan, folder = plan_of(HDG), SweepFolder(tmp_path / "out")
    for number, run in enumerate(plan.runs[:-1]):
        finish(folder, run.name, accuracy=0.01 * number, oracle_h_score=0.5, h_score=0.4)
    rows = write_results(plan, folder)
    pictures = write_pictures(plan, folder, rows)
    assert {p.name for p in pictures} == {
        "heat_accuracy.png",
        "heat_h_score.png",
        "heat_oracle_h_score.png",
        "h_score_by_hybridness.png",
    }
    for path in pictures:
        with Image.open(path) as image:
            assert min(image.size) > 200
    assert folder.results.read_text().count("\n") == len(plan.runs) + 1
    assert "15 of 16 runs finished" in folder.tables.read_text()


def test_three_targets_span_a_radar_plot_of_the_whole_series(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan = plan_of(GRID.replace('"camera"]', '"camera", "color"]'))
    folder = SweepFolder(tmp_path / "out")
    for run in plan.runs:
        # One series lacks a target: it has no closed line.
        if (run.values["method"], run.values["data.target"]) != ("erm", "color"):
            finish(folder, run.name, accuracy=0.5, h_score=0.4, auroc=None)
    rows = collect_rows(plan, folder)
    table = make_table(plan, rows, "accuracy")
    assert whole_series(table) == ["scipd"]
    assert whole_series(make_table(plan, rows, "auroc")) == []
    figure = radar({"Accuracy": table})
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["scipd"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["line", "camera", "color"]
    assert "radar.png" in {path.name for path in write_pictures(plan, folder, rows)}


def test_a_heat_map_of_nothing_but_gaps_and_one_value(
    plan_of: PlanOf, finish: Finish, tmp_path: Path
) -> None:
    plan, folder = plan_of(GRID), SweepFolder(tmp_path / "out")
    finish(folder, "erm-camera-s2", accuracy=0.5)
    table = make_table(plan, collect_rows(plan, folder), "accuracy")
    assert png(heat_map(table, "Accuracy", lower_is_better=False)).startswith(b"\x89PNG")


def test_nothing_finished_is_no_error(plan_of: PlanOf, tmp_path: Path) -> None:
    plan, folder = plan_of(GRID), SweepFolder(tmp_path / "out")
    folder.path.mkdir()
    rows = write_results(plan, folder)
    assert write_pictures(plan, folder, rows) == []
    assert "0 of 12 runs finished" in folder.tables.read_text()
