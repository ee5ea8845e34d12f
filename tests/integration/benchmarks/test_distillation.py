"""The comparison of distillation methods: trials inside the sources, runs, record and tables."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from culprits import raises

from benchmarks.distillation import plan, run, tables
from edgedistill.errors import RecipeError, UsageError, WeightsError
from edgedistill.methods import search_space
from edgedistill.registries import METHODS, SCORES

KEEP_RATES = [0.9, 0.5]


@pytest.fixture(scope="module")
def settings_file(
    tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Settings of tiny trainings: two methods on one target, from random weights."""
    tree = tree_of()
    recipe = {"device": "cpu", "data": {"unknown": ["star"]}, "student": {"size": 32}}
    recipe |= {"views": tree["views"], "teacher": tree["teacher"]}
    recipe |= {"train": {"batch_per_domain": 4}}
    dataset = tree["data"]["dataset"]
    optimizers = [
        {"name": "sgd", "lr": [1e-3, 1e-2], "weight_decay": [1e-5, 1e-3]},
        {"name": "adamw", "lr": [1e-4, 1e-3], "weight_decay": [1e-3, 1e-1]},
    ]
    settings = {
        "seeds": [0, 1],
        "trials": 2,
        "steps": 4,
        "trial_steps": 2,
        "keep_rates": KEEP_RATES,
        "reference": ["scipd"],
        "recipe": recipe,
        "starts": dict.fromkeys(("generic", "embedded"), optimizers),
        "tasks": {dataset: {"unknown": ["tall_bar"], "stand_in": {"sea": "paper"}}},
        "methods": {
            "erm": {"name": "erm"},
            "scipd": {"name": "scipd", "set": {"train": {"average": "sma"}}},
            "start": {"name": "scipd", "untrained": True, "starts": ["generic"]},
        },
        "grids": [
            {
                "task": dataset,
                "students": ["mobilenet_v3_small"],
                "starts": ["generic", "embedded"],
                "targets": ["sea"],
                "methods": ["erm", "scipd", "start"],
            }
        ],
    }
    path = tmp_path_factory.mktemp("distillation") / "settings.toml"
    path.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return path


@pytest.fixture
def cell(settings_file: Path) -> plan.Cell:
    """The first cell: erm from generic weights."""
    return plan.cells_of(plan.read_settings(settings_file))[0]


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "start.safetensors"
    path.write_bytes(b"any")
    return {"mobilenet_v3_small": path}


def edited(settings_file: Path, folder: Path, **changes: Any) -> Path:
    tree = tomllib.loads(settings_file.read_text(encoding="utf-8")) | changes
    path = folder / "edited.toml"
    path.write_text(tomli_w.dumps(tree), encoding="utf-8")
    return path


class TestPlan:
    @pytest.mark.parametrize("start", ["generic", "embedded"])
    def test_every_method_has_as_many_trials_at_the_same_rates(self, start: str) -> None:
        settings = plan.read_settings(run.SETTINGS)
        common = ("train.optimizer", "train.lr", "train.weight_decay")
        drawn = {
            name: [
                [trial[field] for field in common] for trial in plan.draws(settings, name, start)
            ]
            for name, entry in settings.methods.items()
            if not entry.untrained
        }
        assert all(values == drawn["erm"] for values in drawn.values())
        assert len(drawn["erm"]) == settings.trials
        for optimizer in settings.starts[start]:
            rates = [rate for name, rate, _ in drawn["erm"] if name == optimizer.name]
            assert len(set(rates)) == settings.trials // len(settings.starts[start])
            assert all(optimizer.lr[0] <= rate <= optimizer.lr[1] for rate in rates)

    def test_half_of_the_trials_of_each_optimizer_draw_the_methods_own_values(self) -> None:
        settings = plan.read_settings(run.SETTINGS)
        for name in ("kd", "scipd", "scmd"):
            fields = {f"method.{field}" for field in search_space(METHODS[name].Hyper)}
            own = [fields & trial.keys() for trial in plan.draws(settings, name, "generic")]
            assert own == [set(), set(), fields, fields] * 2

    def test_a_trial_never_opens_the_target_or_a_class_kept_for_unknown(
        self, settings_file: Path, cell: plan.Cell, weights: dict[str, Path]
    ) -> None:
        settings = plan.read_settings(settings_file)
        for job in plan.trials_of(settings, cell, weights):
            data = job.recipe.data
            assert (data.target, data.sources) == ("paper", ["night", "paint"])
            assert (data.known, data.unknown) == (["circle", "cross", "square"], ["tall_bar"])
        (one, other) = plan.runs_of(settings, cell, weights, [trial_row(0, 0.3)])
        assert (one.recipe.data.target, one.recipe.data.sources) == ("sea", None)
        assert (one.recipe.seed, other.recipe.seed) == (0, 1)

    @pytest.mark.slow
    def test_unlabelled_images_are_as_many_as_labelled_ones_of_a_step(
        self, weights: dict[str, Path]
    ) -> None:
        settings = plan.read_settings(run.SETTINGS)
        cell = plan.Cell("emoji", "mobilenet_v3_small", "generic", "line", "ovd-unlabelled")
        trials = plan.trials_of(settings, cell, weights)
        (first, *_) = plan.runs_of(settings, cell, weights, [trial_row(0, 0.3)])
        for job, count in ((trials[0], 2 * 16), (first, 3 * 16)):
            assert job.recipe.data.unlabelled == ["emoji"]
            assert job.recipe.train.unlabelled_per_step == count
        without = plan.trials_of(settings, cell._replace(method="ovd"), weights)[0].recipe
        assert without.data.unlabelled == []

    def test_lengths_and_the_chosen_trials_values_reach_the_recipes(
        self, settings_file: Path, cell: plan.Cell, weights: dict[str, Path]
    ) -> None:
        settings = plan.read_settings(settings_file)
        cell = cell._replace(method="scipd")
        trials = plan.trials_of(settings, cell, weights)
        rows = [trial_row(0, 0.3), trial_row(1, 0.5, "energy")]
        runs = plan.runs_of(settings, cell, weights, rows)
        assert {job.recipe.train.steps for job in trials} == {2}
        for job in runs:
            assert (job.recipe.train.steps, job.recipe.train.sma_start) == (4, 2)
            assert job.recipe.train.lr == trials[1].recipe.train.lr
            assert job.recipe.method.hyper == trials[1].recipe.method.hyper
            assert (job.recipe.openset.score, job.recipe.openset.keep) == ("energy", 0.9)

    def test_other_weights_are_another_training(
        self, settings_file: Path, cell: plan.Cell, weights: dict[str, Path], tmp_path: Path
    ) -> None:
        settings = plan.read_settings(settings_file)
        other, copy = tmp_path / "other", tmp_path / "copy"
        other.write_bytes(b"others")
        copy.write_bytes(b"any")
        keys = [
            plan.trials_of(settings, cell, {"mobilenet_v3_small": path})[0].key
            for path in (*weights.values(), copy, other)
        ]
        assert keys[0] == keys[1] != keys[2]

    def test_the_best_mean_over_keep_rates_is_chosen_and_divergence_is_worth_nothing(self) -> None:
        diverged = {**trial_row(0, 0.9), "scores": {}}
        rows = [diverged, trial_row(1, 0.0), trial_row(2, 0.4), trial_row(3, 0.4)]
        assert plan.chosen(rows) == {"number": 2, "score": "max_logit", "worth": 0.4}
        assert plan.chosen(rows[:1]) == {"number": 0, "score": None, "worth": 0.0}
        rows = [{**rows[1], "scores": {"a": {"h_scores": [1, 0]}, "b": {"h_scores": [0.6, 0.5]}}}]
        assert plan.chosen(rows)["score"] == "b"

    def test_mistakes_are_refused_in_one_line(
        self, settings_file: Path, cell: plan.Cell, tmp_path: Path
    ) -> None:
        settings = plan.read_settings(settings_file)
        with raises(UsageError, "mobilenet_v3_small", "--generic"):
            plan.trials_of(settings, cell, {})
        with raises(WeightsError, tmp_path):
            plan.trials_of(settings, cell, {"mobilenet_v3_small": tmp_path / "none"})
        with raises(UsageError, "--only", "moon"):
            plan.cells_of(settings, {"target": ["moon"]})
        with raises(RecipeError, tmp_path / "missing.toml"):
            plan.read_settings(tmp_path / "missing.toml")
        with raises(RecipeError, "trials"):
            plan.read_settings(edited(settings_file, tmp_path, trials=0))
        with raises(RecipeError, "colour"):
            plan.read_settings(edited(settings_file, tmp_path, colour=0))
        grid = {"task": "moon", "students": ["a"], "starts": ["embedded"], "targets": ["b"]}
        with raises(RecipeError, "moon"):
            changed = edited(settings_file, tmp_path, grids=[{**grid, "methods": ["erm"]}])
            plan.read_settings(changed)


def trial_row(number: int, h_score: float, score: str = "max_logit") -> dict[str, Any]:
    return {"number": number, "scores": {score: {"h_scores": [h_score + 0.1, h_score - 0.1]}}}


def start(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    """The script with these arguments."""
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, arguments)])
    run.main()


def test_a_row_says_what_the_product_measured(
    settings_file: Path, cell: plan.Cell, tmp_path: Path
) -> None:
    settings = plan.read_settings(settings_file)
    cell = cell._replace(start="embedded", method="scipd")
    trials = plan.trials_of(settings, cell, {})
    trial = run.measured(trials[0], tmp_path / "trial", KEEP_RATES)
    without_texts = {name for name, score in SCORES.items() if not score.needs_texts}
    assert {"max_cosine"} | without_texts <= trial["scores"].keys()
    (job, _) = plan.runs_of(settings, cell, {}, [trial])
    row = run.measured(job, tmp_path / "run", KEEP_RATES)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    points = {point["keep"]: point for point in metrics["h_score_by_keep"]["points"]}
    assert row["score"] == plan.chosen([trial])["score"] == metrics["openset"]["score"]
    for place, keep in enumerate(KEEP_RATES):
        assert row["h_scores"][place] == pytest.approx(points[keep]["h_score"], abs=1e-4)
    for key in ("accuracy", "auroc", "best_h_score", "oracle_h_score"):
        assert row[key] == pytest.approx(metrics["target"][key], abs=1e-4)
    assert row["training_seconds"] > 0


def test_what_is_left_and_how_long_it_takes(settings_file: Path, tmp_path: Path) -> None:
    settings = plan.read_settings(settings_file)
    cells = plan.cells_of(settings, {"start": ["embedded"]})
    record = tmp_path / "results.json"
    queue = run.Queue(settings, cells, {}, {})
    total, text = run.time_left(queue, 1)
    assert (total, "mobilenet_v3_small" in text) == (8, True)
    for job in queue.trials[cells[0]]:
        row = {"kind": "trial", **job.cell._asdict(), "number": job.number, "key": job.key}
        row |= {"steps": 2, "seconds": 30.0, "training_seconds": 10.0, **trial_row(0, 0.3)}
        queue.rows = run.add_row(record, row | {"number": job.number})
    # Two runs of 4 steps, and two trials and two runs of the other method: 2 x 30 + 4 x 40 s.
    assert run.time_left(queue, 1) == (6, "about 4 min")
    assert run.time_left(queue, 2) == (6, "about 2 min")
    # The runs of the first method are next, and nothing is given twice.
    names = [job.name for job in iter(queue.next, None)]
    assert ["erm-run" in name for name in names] == [True, True, False, False]
    assert len(set(names)) == 4
    # A trial of another recipe or of other weights is done again.
    other = next(iter(queue.rows.values())) | {"key": "another"}
    stale = run.Queue(settings, cells, {}, run.add_row(record, other))
    assert [(job.kind, job.number) for job in stale.left(cells[0])] == [("trial", 0)]


@pytest.mark.slow
def test_a_part_is_tuned_run_recorded_gone_on_with_and_tabulated(
    settings_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = tmp_path / "out" / "results.json"
    options = ("--settings", settings_file, "--record", record, "--runs", tmp_path / "runs")
    options += ("--only", "start=embedded", "--only", "method=erm,scipd")
    start(monkeypatch, "run", *options, "--jobs", "2")
    rows = json.loads(record.read_text())["rows"]
    assert len(rows) == len({run.row_id(row) for row in rows}) == 8
    # Trials leave no folder, and what was lost of the record is done again, the same.
    assert len(list((tmp_path / "runs").iterdir())) == 4
    lost = [row for row in rows if (row["kind"], row["number"]) != ("trial", 1)]
    record.write_text(json.dumps({"rows": lost}))
    capsys.readouterr()
    start(monkeypatch, "run", *options)
    assert capsys.readouterr().out.startswith("2 trainings")
    again = json.loads(record.read_text())["rows"]
    assert sorted(map(stable, again)) == sorted(map(stable, rows))
    start(monkeypatch, "render", *options)
    text = capsys.readouterr().out
    assert "| erm |" in text and "`scipd` minus the others" in text


def stable(row: Mapping[str, Any]) -> str:
    """A row without its times."""
    return json.dumps({k: v for k, v in row.items() if not k.endswith("seconds")}, sort_keys=True)


def run_row(method: str, target: str, seed: int, accuracy: float, seconds: float) -> dict[str, Any]:
    cell = plan.Cell("emoji", "resnet18", "generic", target, method)
    return {"kind": "run", **cell._asdict(), "number": seed, "accuracy": accuracy} | {
        "h_scores": [accuracy, accuracy],
        "known_acceptance": [0.9, 0.7],
        "best_h_score": accuracy,
        "oracle_h_score": accuracy,
        "auroc": accuracy,
        "training_seconds": seconds,
    }


class TestTables:
    def test_seeds_are_averaged_over_targets_first_and_cost_is_erms_multiple(self) -> None:
        settings = plan.read_settings(run.SETTINGS)
        values = {"erm": ((0.5, 0.7), (0.6, 0.8)), "scipd": ((0.6, 0.9), (0.7, 0.8))}
        rows = [
            run_row(
                method, target, seed, values[method][seed][place], 10 if method == "erm" else 15
            )
            for method in values
            for seed in (0, 1)
            for place, target in enumerate(("line", "camera"))
        ]
        text = tables.document({"rows": rows}, settings)
        # Means of the seeds 60 and 70; 75 and 75.
        assert "| erm | 65.0 ± 7.1 |" in text
        assert "| scipd | 75.0 ± 0.0 |" in text
        assert "| 1.50 | 2 |" in text

    def test_paired_differences_have_the_t_interval(self) -> None:
        # Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1; t(0.975, 2) = 4.3027.
        rows = [run_row("erm", "line", seed, 0.5, 1) for seed in (0, 1, 2)]
        rows += [run_row("ovd", "line", seed, 0.6 + 0.1 * seed, 1) for seed in (0, 1, 2)]
        rows += [run_row("ovd", "camera", 0, 0.0, 1)]
        result = tables.paired(rows, "erm", "ovd", "accuracy")
        half = 4.302653 * 0.1 / math.sqrt(3)
        assert result == pytest.approx((0.2, 0.2 - half, 0.2 + half), abs=1e-6)
        assert tables.paired(rows[:1], "erm", "ovd", "accuracy") is None

    def test_a_diverged_run_is_named(self) -> None:
        row = {**run_row("erm", "line", 0, 0.5, 1), "diverged": True}
        text = tables.document({"rows": [row]}, plan.read_settings(run.SETTINGS))
        assert "resnet18 generic line erm 0" in text
        assert "|" not in text
