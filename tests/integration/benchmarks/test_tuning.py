"""The search behind the recipes: what it draws, keeps, chooses and writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from culprits import raises

from benchmarks.emoji import search, tune, tuning_text
from edgedistill.errors import EdgeDistillError
from edgedistill.methods import METHODS, SearchRange
from edgedistill.recipe import differences, load_recipe

RECIPES = Path(__file__).parents[3] / "recipes"
ACCEPTANCES = (0.95, 0.9)


def result(trial: int, steps: int, *values: float, **more: Any) -> dict[str, Any]:
    """A trial with H-scores of two scores at two acceptances."""
    scores = {"max_logit": [values[0], 0.0], "energy": [0.0, values[-1]]} if values else {}
    return {"trial": trial, "steps": steps, "fields": {}, "h_scores": scores, **more}


class TestDraws:
    def test_all_methods_share_rates_and_weight_decays(self) -> None:
        common = {
            method: [[t[f] for f in search.COMMON] for t in search.draws(method)]
            for method in search.METHODS
        }
        assert all(values == common["erm"] for values in common.values())
        assert len(common["erm"]) == search.TRIALS == 20

    def test_every_twentieth_of_a_range_has_one_value(self) -> None:
        rates = sorted(math.log10(t["train.lr"]) for t in search.draws("erm"))
        width = (math.log10(3e-2) - math.log10(1e-4)) / 20
        assert [round((r + 4) / width - 0.5, 0) for r in rates] == pytest.approx(range(20), abs=0.6)
        assert rates != [math.log10(t["train.lr"]) for t in search.draws("erm")]

    @pytest.mark.parametrize("method", search.METHODS)
    def test_own_values_are_the_authors_or_within_the_range(self, method: str) -> None:
        trials, defaults = search.draws(method), METHODS[method].Hyper()
        for field, values in search.OWN[method].items():
            assert search.AUTHORS[method][field] == getattr(defaults, field.removeprefix("method."))
            assert values.low < search.AUTHORS[method][field] < values.high
            assert {t[field] for t in trials[::2]} == {search.AUTHORS[method][field]}
            drawn = [t[field] for t in trials[1::2]]
            assert len(set(drawn)) == 10
            assert all(values.low <= value <= values.high for value in drawn)

    def test_a_range_and_its_inverse(self) -> None:
        for values in (SearchRange(1e-4, 3e-2), SearchRange(0, 2, log=False)):
            assert (values.at(0.0), values.at(1.0)) == (values.low, values.high)
            assert values.share(values.at(0.3)) == pytest.approx(0.3, abs=2e-3)

    @pytest.mark.parametrize("method", search.METHODS)
    def test_every_trial_is_a_recipe_of_its_own_length(self, method: str) -> None:
        average = load_recipe(tune.recipe_path(method)).train.average
        fields = search.draws(method)[1] | search.lengths(60, average)
        trial_recipe = load_recipe(
            tune.recipe_path(method), [f"{k}={v}" for k, v in fields.items()]
        )
        assert (
            trial_recipe.train.steps,
            trial_recipe.train.warmup_steps,
            trial_recipe.train.eval_every,
        ) == (60, 6, 15)
        assert trial_recipe.train.lr == fields["train.lr"]
        assert trial_recipe.train.sma_start == (30 if method == "scmd" else 300)


class TestChoice:
    def test_a_trial_is_worth_its_best_setting(self) -> None:
        best = search.best_setting(result(0, 60, 0.4, 0.5), ACCEPTANCES)
        assert best == {"score": "energy", "acceptance": 0.9, "h_score": 0.5}
        best = search.best_setting(result(0, 60, 0.5, 0.5), ACCEPTANCES)
        assert (best["score"], best["acceptance"]) == ("max_logit", 0.95)

    def test_the_best_go_on_and_a_diverged_run_is_worth_nothing(self) -> None:
        trials = [result(0, 60), *(result(i, 60, h) for i, h in ((1, 0.2), (2, 0.6), (3, 0.2)))]
        assert search.promoted(trials, 4, ACCEPTANCES) == [2, 1, 3, 0]
        assert search.promoted(trials, 2, ACCEPTANCES) == [2, 1]

    def test_the_longest_rung_decides(self) -> None:
        trials = [result(0, 60, 0.9), result(1, 60, 0.8), result(1, 200, 0.6), result(0, 200, 0.5)]
        choice = search.chosen(trials, ACCEPTANCES)
        assert (choice["trial"], choice["steps"], choice["h_score"]) == (1, 200, 0.6)

    def test_values_near_an_end_are_named(self) -> None:
        fields = {"train.lr": 2.9e-2, "train.weight_decay": 5e-4, "method.weight": 0.25}
        assert search.at_the_edge("kd", fields) == ["train.lr", "method.weight"]


def record_of(*methods: str) -> dict[str, Any]:
    """A whole record of two trials a method, the second of which is the better one."""
    results = {
        method: [
            {
                "trial": number,
                "steps": steps,
                "fields": search.draws(method)[number],
                "accuracy": 0.6,
                "h_scores": {"energy": [0.1] * 11 + [0.3 + 0.1 * number]},
            }
            for steps in (60, 200)
            for number in (0, 1)
        ]
        for method in methods
    }
    record: dict[str, Any] = json.loads(tune.to_text(results, ((60, 2), (200, 2))))
    return record


class TestWriting:
    @pytest.mark.parametrize("method", search.METHODS)
    def test_a_recipe_takes_the_choice_and_keeps_its_comments(
        self, method: str, tmp_path: Path
    ) -> None:
        choice = record_of(method)["methods"][method]["chosen"]
        before = tune.recipe_path(method).read_text(encoding="utf-8")
        path = tmp_path / "recipe.toml"
        path.write_text(tuning_text.applied(before, choice), encoding="utf-8")
        new, old = load_recipe(path), load_recipe(tune.recipe_path(method))
        assert (new.openset.score, new.openset.keep) == ("energy", old.openset.keep)
        assert new.train.lr == search.draws(method)[1]["train.lr"]
        assert new.train.weight_decay == search.draws(method)[1]["train.weight_decay"]
        for field in search.OWN[method]:
            name = field.removeprefix("method.")
            assert new.method.hyper[name] == search.draws(method)[1][field]
        allowed = {"train.lr", "train.weight_decay", "openset.score"}
        changed = {line.partition(":")[0] for line in differences(new, old)}
        assert changed <= allowed | search.OWN[method].keys()
        lines = zip(before.splitlines(), path.read_text().splitlines(), strict=True)
        for old_line, new_line in lines:
            if not new_line.startswith("score"):
                assert old_line.partition("#")[2] == new_line.partition("#")[2]

    def test_a_recipe_without_the_line_is_refused(self) -> None:
        choice = record_of("kd")["methods"]["kd"]["chosen"]
        with raises(EdgeDistillError, "method"):
            tuning_text.applied(
                "[train]\nlr = 1 # a\nweight_decay = 1 # b\n[method]\ntemperature = 1 # c\n"
                "[openset]\nscore = 1 # d\n",
                choice,
            )

    def test_the_section_has_a_row_for_every_method(self) -> None:
        text = tuning_text.document(record_of("erm", "scipd"))
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert [row.split(" | ")[0] for row in rows] == ["| method", "| erm", "| scipd"]
        assert len({row.count("|") for row in rows}) == 1
        prose = " ".join(text.split())
        assert "2 trials of 60 steps, the best 2 again with 200 steps" in prose
        assert "erm's acceptance; scipd's" in prose
