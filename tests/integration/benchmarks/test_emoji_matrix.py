"""The matrix of the embedded benchmark: statistics, tables from any part of it, its plan."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.emoji import matrix
from benchmarks.emoji import matrix_stats as stats
from benchmarks.emoji import matrix_tables as tables
from benchmarks.marked import between
from edgedistill.errors import EdgeDistillError
from edgedistill.recipe import load_recipe
from edgedistill.sweep.folder import SweepFolder
from edgedistill.sweep.plan import Plan, make_plan

ROOT = Path(__file__).parents[3]
STUDENTS = ["resnet18", "mobilenet_v3_small"]
METHODS = ["erm", "scipd"]
TARGETS = ["line", "camera"]
RATES = ("accuracy", "h_score", "oracle_h_score", "auroc")


def row(student: str, method: str, target: str, seed: int, value: float) -> dict[str, Any]:
    rates = dict.fromkeys(RATES, value)
    sha = f"{student} {method} {target} {seed}"
    return {
        "run": sha.replace(" ", "-"),
        "student": student,
        "method": method,
        "target": target,
        "seed": seed,
        "weights": "embedded" if student == "mobilenet_v3_small" else "none",
        "teacher": dict.fromkeys(RATES, 0.9),
        "fp32": {**rates, "bytes": 4_000_000, "sha256": sha},
        "int8": {
            **{k: v - 0.01 for k, v in rates.items()},
            "bytes": 1_000_000,
            "sha256": sha + "8",
        },
    }


def record(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    axes = {"student": STUDENTS, "method": METHODS, "target": TARGETS, "seed": [0, 1, 2, 3, 4]}
    empty: dict[str, Any] = {"measured": {}, "latency": []}
    return {"planned": 40, "axes": axes, "rows": rows, **empty, **more}


def session(cpu: str, verdict: str = "quiet") -> dict[str, Any]:
    noise = {"verdict": verdict, "worst": 0.02, "limit": 0.05}
    flags = ["avx", "avx2", "avx512f"] if cpu.startswith("Another") else []
    return {
        "edgedistill": "1",
        "threads": 1,
        "machine": {"cpu": cpu, "flags": flags},
        "noise": noise,
    }


def full() -> list[dict[str, Any]]:
    places = product(STUDENTS, METHODS, TARGETS, range(5))
    return [row(s, m, t, n, 0.5 + 0.3 * (m == "scipd") + 0.01 * n) for s, m, t, n in places]


def test_sign_flips_of_equal_differences_give_two_in_two_to_the_n() -> None:
    assert stats.sign_flip_p([0.1] * 6) == pytest.approx(2 / 2**6)
    assert stats.sign_flip_p([-0.1, -0.2, -0.3]) == pytest.approx(2 / 2**3)
    assert stats.sign_flip_p([0.1, -0.1]) == 1
    assert stats.sign_flip_p([0.0, 0.0]) == 1
    assert stats.sign_flip_p([0.3]) == 1


def test_many_pairs_are_drawn_and_give_the_same_p_twice() -> None:
    differences = list(np.linspace(-0.02, 0.03, 60))
    first = stats.sign_flip_p(differences)
    assert 0 < first < 1
    assert stats.sign_flip_p(differences) == first


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_and_keeps_the_order(values: list[float]) -> None:
    adjusted = stats.holm(values)
    assert all(1 >= after >= before for before, after in zip(values, adjusted, strict=True))
    order = np.argsort(values, kind="stable")
    assert all(np.diff([adjusted[i] for i in order]) >= 0)


def test_methods_are_compared_within_a_student_on_shared_pairs() -> None:
    rows = [r for r in full() if (r["method"], r["seed"]) != ("erm", 4)]
    comparisons = stats.methods_compared(rows, "h_score")
    assert {(c.group, c.a, c.b) for c in comparisons} == {(s, "erm", "scipd") for s in STUDENTS}
    assert all(c.pairs == 8 and c.agree == c.targets == 2 for c in comparisons)
    assert all(c.difference == pytest.approx(-0.3) and c.significant for c in comparisons)
    assert stats.beaten(comparisons, "resnet18", "scipd") == ["erm"]
    assert stats.beaten(comparisons, "resnet18", "erm") == []


def test_document_of_the_whole_matrix() -> None:
    text = tables.document(record(full()))
    assert "40 of 40 runs are in" in text and "Not run yet" not in text
    assert "| resnet18 | random weights | scipd | 10/10 | 82.0 ± 1.6 |" in text
    assert "| mobilenet_v3_small | start weights | erm | 10/10 | 52.0 ± 1.6 |" in text
    assert "| *teacher, zero-shot* | as scipd | 90.0 | 90.0 |" in text
    assert "| H deployed | resnet18 | scipd | erm | 30.0 | 10 |" in text
    assert "| resnet18 | accuracy | -1.00 | 20 |" in text
    # Ten pairs have 2^10 flips, all of them counted; twenty have too many.
    assert "student, target and seed, exact test over all flips" in text
    assert "as a pair: Monte Carlo test over 65,536 random flips" in text
    # Two targets: 2 / 2^2.
    assert "conditional on these targets and their images" in text
    assert "no p could come below 0.5, as there are 2" in text
    assert "the times have not been measured" in text


def test_the_teacher_keeps_what_scipd_keeps() -> None:
    rows = full()
    for r in rows:
        if r["method"] == "erm":
            r["teacher"] = dict.fromkeys(RATES, 0.4)
    assert "| *teacher, zero-shot* | as scipd | 90.0 | 90.0 |" in tables.document(record(rows))
    rows = [r for r in rows if r["method"] == "erm"]
    assert "| *teacher, zero-shot* | as scipd | – | – |" in tables.document(record(rows))


def test_a_p_just_below_the_level_is_not_rounded_to_it() -> None:
    close = stats.Comparison("resnet18", "kd", "erm", 12, -0.036, 0.001, 4, 3, adjusted=0.0498)
    text = "\n".join(tables.differences({metric: [close] for metric in tables.TESTED}))
    assert "| resnet18 | erm | kd | 3.6 | 12 | 0.0498 | 3/4 |" in text


def test_missing_cells_are_shown_as_such() -> None:
    rows = [row("resnet18", "erm", "line", 0, 0.5), row("resnet18", "scipd", "line", 0, 0.7)]
    rows[0]["int8"] = {"refused": "int8 loses too much"}
    rows.append(row("resnet18", "erm", "camera", 0, 0.7))
    text = tables.document(record(rows))
    assert "3 of 40 runs are in" in text and "2 with the int8 file; 1 int8 file was refused" in text
    # Both targets are in for ERM, one is missing for SCI-PD: no mean over targets.
    assert (
        "| resnet18 | random weights | erm | 2/10 | 60.0 | 60.0 | 60.0 | 60.0 | – | – | – |" in text
    )
    assert "| resnet18 | random weights | scipd | 1/10 | – | – | – | – | – | – | – |" in text
    assert "Not run yet: mobilenet_v3_small." in text and "| mobilenet_v3_small |" not in text
    assert "mobilenet_v3_small" not in tables.summary(record(rows))
    assert "nothing can be concluded yet" in text
    assert "No difference between methods is significant" in text


def test_a_mean_of_int8_says_which_part_of_the_seeds_it_has() -> None:
    rows = [row("resnet18", "erm", "line", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    assert "seeds)" not in tables.document(record(rows))
    rows[0]["int8"] = {"refused": "int8 loses too much"}
    text = tables.document(record(rows))
    assert "| 60.0 ± 10.0 | 64.0 ± 7.1 (2 of 3 seeds) | 64.0 ± 7.1 (2 of 3 seeds) | – |" in text
    rows[1]["int8"] = {"refused": "int8 loses too much"}
    text = tables.document(record(rows))
    assert "2 int8 files were refused, as they lose" in text and "| 69.0 (1 of 3 seeds) |" in text


def test_documents_without_any_run_say_so() -> None:
    assert "No run of the matrix has been recorded yet" in tables.document(record([]))
    assert tables.summary(record([])) == ""


def test_times_are_shown_with_their_noise_and_paired_by_round() -> None:
    latency = [
        {"student": "resnet18", "method": "erm", "precision": "fp32", "p50_ms": 4.0}
        | {"rounds_ms": [4.0, 5.0, 3.0]},
        {"student": "resnet18", "method": "erm", "precision": "int8", "p50_ms": 1.5}
        | {"rounds_ms": [1.0, 2.5, 1.5]},
    ]
    measured = record(full(), latency=latency, measured={"resnet18": session("Some CPU", "noisy")})
    assert "| resnet18 | 4.00 | 1.00 | 4.00 | 1.50 | 0.50 |" in tables.document(measured)
    assert "resnet18: 1 thread on Some CPU, two equal files came out within 2 %" in (
        tables.document(measured)
    )
    assert "too noisy to rank" in tables.document(measured)
    assert "did not take turns" not in tables.document(measured)
    assert "1 thread on Some CPU" in tables.summary(measured)


def test_students_timed_on_different_days_are_told_apart() -> None:
    latency = [
        {"student": s, "method": "erm", "precision": "fp32", "p50_ms": 4.0, "rounds_ms": [4.0]}
        for s in STUDENTS
    ]
    both = dict.fromkeys(STUDENTS, session("One CPU"))
    text = tables.document(record(full(), latency=latency, measured=both))
    assert "resnet18 and mobilenet_v3_small: 1 thread on One CPU" in text
    assert "did not take turns" not in text
    apart = {"resnet18": session("One CPU"), "mobilenet_v3_small": session("Another CPU")}
    measured = record(full(), latency=latency, measured=apart)
    text = tables.document(measured)
    assert "resnet18: 1 thread on One CPU" in text
    assert "mobilenet_v3_small: 1 thread on Another CPU with avx512f, two equal" in text
    assert "students of different sessions did not take turns" in text
    assert "1 thread on One CPU or 1 thread on Another CPU with avx512f" in tables.summary(measured)


def test_start_weights_are_read_not_assumed() -> None:
    assert tables.start_of("none") == "random weights"
    assert tables.start_of("/home/me/weights/b0.safetensors") == "b0.safetensors"
    rows = [row("resnet18", "erm", "line", 0, 0.5) | {"weights": "imagenet"}]
    assert "| resnet18 | ImageNet | erm |" in tables.document(record(rows))


def test_marks_of_one_script_leave_those_of_another_alone() -> None:
    text = "a <!-- results -->\nold\n<!-- results --> b <!-- matrix --><!-- matrix --> c\n"
    new_text = between(text, "<!-- matrix -->", "new", "doc.md")
    assert new_text == text.replace(
        "<!-- matrix --><!-- matrix -->", "<!-- matrix -->\nnew\n<!-- matrix -->"
    )
    assert between(new_text, "<!-- matrix -->", "new", "doc.md") == new_text
    with raises(EdgeDistillError, "doc.md", "<!-- peers -->", 0):
        between(text, "<!-- peers -->", "new", "doc.md")


def test_the_sweep_is_the_whole_matrix_with_one_cache_and_tuned_values() -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    assert len(plan.runs) == 4 * 5 * 4 * 3 and plan.view_caches == 1
    assert plan.export and plan.export.int8 and plan.export.bench
    assert {len(values) for values in plan.axes.values()} == {3, 4, 5}
    by_name = {run.name: run.recipe for run in plan.runs}
    recipe = by_name["resnet18-scmd-line-s0"]
    tuned = load_recipe(ROOT / "recipes/mobilenet_scmd.toml")
    assert recipe.student.model == "resnet18" and tuned.student.model != "resnet18"
    assert (recipe.train, recipe.openset.score) == (tuned.train, tuned.openset.score)
    # The share to keep is tuned for the benchmark alone.
    assert recipe.openset.keep == 0.7 and tuned.openset.keep == 0.95
    # The first seed is complete before the second begins: a table of it is there early.
    assert [run.recipe.seed for run in plan.runs] == sorted(run.recipe.seed for run in plan.runs)


def test_record_has_a_line_per_run() -> None:
    rows = full()
    rows[0]["int8"] = {"refused": "int8 loses too much"}
    text = matrix.to_text(record(rows))
    assert json.loads(text) == record(rows)
    assert sum('"run"' in line for line in text.splitlines()) == len(rows)


def test_collected_from_what_the_sweep_wrote(tmp_path: Path) -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    folder = SweepFolder(tmp_path)
    with raises(EdgeDistillError, "edgedistill sweep"):
        matrix.collect(plan, folder)
    rows = full()
    run = plan.runs[0]
    template = rows[0]
    metrics = {
        "target": {"domain": "line"},
        "source_val": {"accuracy": 0.5},
        "seconds": 2.0,
        "teacher": None,
    }
    (folder.run(run.name)).mkdir(parents=True)
    (folder.run(run.name) / "metrics.json").write_text(json.dumps(metrics))
    identity = {"teacher": None, "start_weights": "abc", "images": "def"}
    (folder.run(run.name) / "environment.json").write_text(json.dumps({"identity": identity}))
    entry = {p: {**template[p], "sha256": p} for p in ("fp32", "int8")}
    model = {
        "latency": [
            {
                "model": {"p50_ms": 2.0, "p95_ms": 3.0, "rounds_ms": [2.0]},
                "decision": {"p50_ms": 4.0},
            }
        ],
        "parameters": 5,
        "macs": 6,
        "cold_start": {"median_s": 0.1},
        "peak_memory_bytes": 7,
    }
    bench = {
        "models": [{**model, "sha256": "int8"}, {**model, "sha256": "of a run that is gone"}],
        "machine": {"cpu": "some", "flags": []},
        "method": {"threads": [1]},
        "noise": {"verdict": "quiet", "worst": 0.01, "limit": 0.1},
    }
    written = {"files": {run.name: entry}, "bench": bench}
    (tmp_path / "files.json").write_text(json.dumps(written))
    collected = matrix.collect(plan, folder)
    assert [row["run"] for row in collected["rows"]] == [run.name] and collected["planned"] == 240
    assert collected["rows"][0]["identity"] == identity
    assert collected["measured"]["resnet18"]["machine"] == {"cpu": "some", "flags": []}
    assert [(row["run"], row["precision"], row["p50_ms"]) for row in collected["latency"]] == [
        (run.name, "int8", 2.0)
    ]
    assert json.loads(matrix.to_text(collected)) == collected


def planned(plan: Plan, student: str, value: float, count: int = 2) -> list[dict[str, Any]]:
    """Rows of the first runs of a student."""
    runs = [run for run in plan.runs if run.recipe.student.model == student][:count]
    rates = {**dict.fromkeys(RATES, value), "bytes": 1, "sha256": f"made for {value}"}
    identity = {"teacher": "T", "start_weights": student, "images": "I"}
    return [
        {**matrix.settings(run), "identity": identity, "fp32": rates, "int8": rates} for run in runs
    ]


def timed(rows: list[dict[str, Any]], cpu: str) -> dict[str, Any]:
    student = rows[0]["student"]
    latency = [{"student": student, "run": rows[0]["run"], "precision": "fp32"}]
    return record(rows, latency=latency, measured={student: session(cpu)})


def test_what_is_done_another_day_is_added_to_the_record() -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    small = planned(plan, "mobilenet_v3_small", 0.5)
    old = timed(small, "first")
    new = timed(planned(plan, "resnet18", 0.6), "second")
    merged, left_out = matrix.merged(old, new, plan)
    assert left_out == 0
    order = [run.name for run in plan.runs]
    names = [row["run"] for row in merged["rows"]]
    assert names == sorted(names, key=order.index) and len(names) == 4
    cpus = {student: where["machine"]["cpu"] for student, where in merged["measured"].items()}
    assert cpus == {"mobilenet_v3_small": "first", "resnet18": "second"}
    assert {entry["student"] for entry in merged["latency"]} == set(cpus)

    # One run of a student again replaces that run, and the times of the other session's stay.
    again, _ = matrix.merged(merged, record(planned(plan, "mobilenet_v3_small", 0.7)[1:]), plan)
    mine = [row for row in again["rows"] if row["student"] == "mobilenet_v3_small"]
    assert [row["fp32"]["accuracy"] for row in mine] == [0.5, 0.7]
    assert again["measured"] == merged["measured"] and again["latency"] == merged["latency"]
    # The same files once more, by a sweep that did not time them.
    again, _ = matrix.merged(merged, record(small), plan)
    assert again["measured"] == merged["measured"] and again["latency"] == merged["latency"]
    # What was timed was made anew: its times are of files that are gone.
    again, _ = matrix.merged(merged, record(planned(plan, "mobilenet_v3_small", 0.7)[:1]), plan)
    assert set(again["measured"]) == {"resnet18"}
    assert {entry["student"] for entry in again["latency"]} == {"resnet18"}


def test_runs_from_other_start_weights_leave_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    old = record(planned(plan, "mobilenet_v3_small", 0.5) + planned(plan, "resnet18", 0.5))
    shipped = matrix.start_file
    monkeypatch.setattr(matrix, "start_file", lambda s: "new" if s == "resnet18" else shipped(s))
    new = record(planned(plan, "resnet18", 0.6, count=1))
    merged, left_out = matrix.merged(old, new, plan)
    assert left_out == 1
    assert [row["fp32"]["accuracy"] for row in merged["rows"] if row["student"] == "resnet18"] == [
        0.6
    ]
    assert sum(row["student"] == "mobilenet_v3_small" for row in merged["rows"]) == 2
    assert shipped("mobilenet_v3_small") and shipped("resnet50") is None


def test_what_the_plan_has_otherwise_now_leaves_the_record() -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    small = planned(plan, "mobilenet_v3_small", 0.5)
    small[0]["lr"] = 123.0
    gone = {**small[1], "run": "a-run-of-another-name"}
    old = timed([*small, gone], "first")
    merged, left_out = matrix.merged(old, timed(planned(plan, "resnet18", 0.6), "second"), plan)
    assert left_out == 2
    assert [row["run"] for row in merged["rows"] if row["student"] != "resnet18"] == [
        small[1]["run"]
    ]
    # What was timed was the run that left.
    assert set(merged["measured"]) == {"resnet18"}


@pytest.mark.parametrize("what", ["teacher", "images"])
def test_rows_of_another_teacher_or_other_images_are_not_mixed(what: str) -> None:
    plan = make_plan(ROOT / "benchmarks/emoji.toml")
    old = record(planned(plan, "mobilenet_v3_small", 0.5, count=1))
    new = planned(plan, "resnet18", 0.6)
    new[0]["identity"] = {**new[0]["identity"], what: "another"}
    with raises(EdgeDistillError, what, "matrix.json"):
        matrix.merged(old, record(new), plan)
    # A method without a teacher has none to differ in.
    new[0]["identity"] = {**new[0]["identity"], "teacher": None, "images": "I"}
    assert len(matrix.merged(old, record(new), plan)[0]["rows"]) == 3
