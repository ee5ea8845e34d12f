"""The tables of benchmarks/emoji/RESULTS.md and FIDELITY.md, from rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

from benchmarks.emoji import fidelity, results, swept
from edgedistill.data.normalization import IMAGENET_MEAN, IMAGENET_STD
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import make_plan


def variant(name: str, target: str, seed: int, value: float) -> dict[str, Any]:
    return {
        "sweep": "fidelity_scipd",
        "variant": name,
        "target": target,
        "seed": seed,
        **{key: value for key in swept.SHOWN},
    }


class TestDifferences:
    rows = (
        variant("corrected", "line", 0, 0.5),
        variant("corrected", "camera", 0, 0.7),
        variant("corrected", "line", 1, 0.6),
        variant("double-softmax", "line", 0, 0.4),
        variant("double-softmax", "camera", 0, 0.8),
        variant("double-softmax", "line", 1, 0.58),
        variant("faithful", "line", 2, 0.1),
    )

    def test_only_runs_of_one_seed_and_target_are_compared(self) -> None:
        differences = swept.differences(self.rows, "double-softmax", "corrected")
        assert differences["auroc"] == pytest.approx([0.0, -0.02])
        assert swept.differences(self.rows, "faithful", "corrected")["accuracy"] == []

    def test_the_table(self) -> None:
        lines = swept.difference_table(self.rows, "corrected", "SCI-PD").splitlines()
        assert lines[0] == "| SCI-PD | accuracy | H deployed | H oracle | AUROC | seeds |"
        assert len({line.count("|") for line in lines}) == 1
        assert lines[2].startswith("| corrected | 60.0 ± 0.0 |") and lines[2].endswith("| 2 |")
        assert lines[3].startswith("| double softmax | −1.0 ± 1.4 |")
        assert lines[4] == "| faithful | – | – | – | – | 0 |"

    def test_one_seed_has_no_spread(self) -> None:
        assert swept.points([0.123]) == "12.3"
        assert swept.points([0.01], "+") == "+1.0"


def method_row(method: str, target: str, seed: int, value: float) -> dict[str, Any]:
    metrics = {key: value for key in results.COLUMNS}
    teacher = {key: 0.9 for key in results.COLUMNS}
    score = "max_logit"
    return {"method": method, "target": target, "seed": seed, "score": score, **metrics} | {
        "teacher": teacher
    }


class TestMethods:
    def rows(self) -> list[dict[str, Any]]:
        return [
            method_row(method, target, seed, 0.5 + 0.1 * seed + 0.2 * (target == "camera"))
            for method in results.METHODS
            for target in ("line", "camera")
            for seed in (0, 1)
        ]

    def test_a_seed_counts_only_with_all_methods(self) -> None:
        rows = [
            r for r in self.rows() if (r["method"], r["target"], r["seed"]) != ("kd", "line", 1)
        ]
        complete = results.complete(rows)
        assert {(r["target"], r["seed"]) for r in complete} == {
            ("line", 0),
            ("camera", 0),
            ("camera", 1),
        }

    def test_the_mean_over_targets_comes_first(self) -> None:
        mean, line, camera = results.tables(self.rows(), swept.SHOWN, results.TARGETS)
        assert mean.startswith("| mean over 2 targets, 2 seeds |")
        assert "| erm | `max_logit` | 65.0 ± 7.1 |" in mean
        assert line.startswith("| target `line`") and camera.startswith("| target `camera`")
        assert "| *teacher, zero-shot* | `max_cosine` | 90.0 |" in camera

    def test_the_mean_is_over_seeds_that_have_all_targets(self) -> None:
        rows = [r for r in self.rows() if (r["target"], r["seed"]) != ("line", 1)]
        mean, line, _ = results.tables(rows, swept.SHOWN, results.TARGETS)
        assert mean.startswith("| mean over 2 targets, 1 seeds |")
        assert line.startswith("| target `line`, 1 seeds |")


def test_rows_are_read_from_finished_runs(tmp_path: Path) -> None:
    sweep = swept.SWEEPS / "fidelity_scmd.toml"
    plan, folder = make_plan(sweep), SweepFolder(tmp_path / sweep.stem)
    for run in plan.runs[:2]:
        folder.run(run.name).mkdir(parents=True)
        target = {"domain": "line", **{key: 0.25 for key in swept.SHOWN}}
        (folder.run(run.name) / "metrics.json").write_text(
            json.dumps({"target": target, "seconds": 1.0})
        )
    rows = fidelity.collect(tmp_path)
    assert [r["variant"] for r in rows] == list(plan.axes["quirk"])[:2]
    assert {(r["target"], r["seed"], r["auroc"]) for r in rows} == {("line", 0, 0.25)}
    assert "Target `line`, 2 runs." in fidelity.document(rows)
    assert fidelity.document([]).startswith("Not measured yet")


class TestFidelity:
    def test_the_off_teacher_s_pixels_are_mapped_as_clip_s_are(self, tmp_path: Path) -> None:
        x = np.linspace(0, 1, 12).reshape(4, 3)
        mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
        clip_mean, clip_std = np.array(OPENAI_DATASET_MEAN), np.array(OPENAI_DATASET_STD)
        off_mean, off_std = (np.array(v) for v in fidelity.off_statistics())
        right = (x - mean) / std
        # What maps CLIP's right tensor to the one that it gets, maps ours too.
        gain, shift = clip_std / std, (clip_mean - mean) / std
        assert np.allclose((x - off_mean) / off_std, gain * right + shift)
        assert np.allclose(gain * (x - clip_mean) / clip_std + shift, (x - mean) / std)

    def test_the_off_teacher_is_an_ordinary_one_with_the_same_weights(self, tmp_path: Path) -> None:
        fidelity.make_off_teacher(tmp_path / "off")
        record = json.loads((tmp_path / "off" / "open_clip_config.json").read_text())
        assert record["preprocess_cfg"]["mean"] == fidelity.off_statistics()[0]
        names = {p.name for p in (tmp_path / "off").iterdir()}
        assert names == {p.name for p in (fidelity.EMBEDDED_FOLDER / "emoji-clip").iterdir()}

    def test_the_control_of_two_optimisers_has_twice_the_rate(self) -> None:
        plan = make_plan(swept.SWEEPS / "fidelity_scipd.toml")
        rates = {run.values["quirk"]: run.recipe.train.lr for run in plan.runs}
        assert rates["one-optimiser-at-twice-the-rate"] == 2 * rates["corrected"]
        assert rates["two-optimisers"] == rates["corrected"]

    @pytest.mark.parametrize("method", ["scipd", "scmd"])
    def test_corrected_and_faithful_differ_in_quirks_alone(self, method: str) -> None:
        runs = {
            r.values["quirk"]: r for r in make_plan(swept.SWEEPS / f"fidelity_{method}.toml").runs
        }
        corrected, faithful = (runs[name].recipe.method.hyper for name in ("corrected", "faithful"))
        assert corrected["projector_init"] is faithful["projector_init"] is False
        hyper = ("alpha", "tau", "beta") if method == "scipd" else ("temperature", "last_k")
        assert all(corrected[name] == faithful[name] for name in hyper)
        assert runs["faithful"].recipe.train.lr == runs["corrected"].recipe.train.lr


def test_documents_have_the_marks() -> None:
    for name, marks in {
        "benchmarks/emoji/RESULTS.md": (results.MARK, results.ABLATION_MARK, "<!-- tuning -->"),
        "benchmarks/emoji/FIDELITY.md": (fidelity.MARK,),
        "docs/results.md": (results.MARK,),
    }.items():
        text = (swept.ROOT / name).read_text(encoding="utf-8")
        assert all(text.count(mark) == 2 for mark in marks), name
