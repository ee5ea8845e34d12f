"""Requirements: what may be written, and who does not reach them."""

from __future__ import annotations

from typing import Any

import pytest
from culprits import raises
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.bench.gate import NAMES, Requirement, failures, parse, refuse_unanswerable
from edgedistill.errors import BenchError, EdgeDistillError


@given(
    name=st.sampled_from(NAMES),
    compare=st.sampled_from([">=", "<=", ">", "<"]),
    value=st.floats(0, 1).map(lambda value: float(f"{value:g}")),
    space=st.sampled_from(["", " ", "  "]),
)
def test_what_is_written_is_what_is_read(name: str, compare: Any, value: float, space: str) -> None:
    requirement = parse(f"{space}{name}{space}{compare}{space}{value:g}{space}")
    assert requirement == Requirement(name, compare, value)
    assert parse(str(requirement)) == requirement


@given(st.text(max_size=30))
def test_anything_else_is_one_line(text: str) -> None:
    try:
        parse(text)
    except EdgeDistillError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("h_scor>=0.6", "'h_score'"),
        ("p50ms<=5", "'p50_ms'"),
        ("accuracy>=60", "0.6 or 60%"),
        ("accuracy==0.6", ">=, <=, >, <"),
        ("accuracy", "comparison"),
        ("", "comparison"),
        ("p50_ms<=fast", "'fast'"),
        ("p50_ms<=nan", "'nan'"),
        ("p50_ms<=5%", "'5%'"),
        ("h_score.middle>=0.1", "'h_score.middle'"),
    ],
)
def test_mistakes(text: str, culprit: str) -> None:
    with raises(BenchError, text, culprit):
        parse(text)


@pytest.mark.parametrize("text", ["accuracy>=150%", "accuracy>=600", "accuracy>=-1"])
def test_no_share_is_suggested_that_cannot_be_meant(text: str) -> None:
    with raises(BenchError, text, "0% and 100%") as caught:
        parse(text)
    assert str(caught.value).endswith("100%")


def test_per_cent_and_ends_of_the_interval() -> None:
    assert parse("accuracy>=60%") == Requirement("accuracy", ">=", 0.6)
    assert parse("h_score.low > 0.5").name == "h_score.low"
    assert parse("h_score.low > 0.5").needs_data and not parse("p95_ms<9").needs_data


def test_failing_lines(bench_result: Any) -> None:
    def lines(*texts: str, models: list[str] | None = None) -> list[str]:
        return failures(bench_result, [parse(text) for text in texts], models)

    assert lines("h_score>=0.6", "p50_ms<=9", "size_mb<5", "peak_memory_mb<=200") == []
    assert lines("h_score>=0.7", "cold_start_s<=1") == [
        "student.onnx: h_score>=0.7 does not hold: 0.681 on recipes/tiny.toml",
        "student-int8.onnx: h_score>=0.7 does not hold: 0.672 on recipes/tiny.toml",
        "other.onnx: h_score>=0.7 does not hold: 0.62 on recipes/tiny.toml",
    ]
    assert lines("h_score>=0.7", models=["other.onnx"]) == [
        "other.onnx: h_score>=0.7 does not hold: 0.62 on recipes/tiny.toml"
    ]
    # Of two settings only the one with a batch of 8 is too slow.
    assert lines("p50_ms<=5", models=["student.onnx"]) == [
        "student.onnx: p50_ms<=5 does not hold: 8.8 (1 thread, batch 8)"
    ]
    assert lines("h_score.low>=0.66", models=["student.onnx"]) == [
        "student.onnx: h_score.low>=0.66 does not hold: 0.64 on recipes/tiny.toml"
    ]
    # The parameters of the third file are not known.
    assert lines("parameters<2000000") == [
        "other.onnx: parameters<2000000 does not hold: not measured: it has layers that are not "
        "counted"
    ]
    # Two calls in each of six rounds.
    assert lines("p99_ms<1", models=["other.onnx"])[0] == (
        "other.onnx: p99_ms<1 does not hold: not measured (1 thread, batch 1): 12 calls are too "
        "few; raise --rounds to 50"
    )
    assert lines("decision_p95_ms<1", models=["other.onnx"])[1].endswith("raise --rounds to 10")


@pytest.mark.parametrize(
    ("requirement", "reason"),
    [
        # 4.314051 MB; four digits would hold.
        ("size_mb<=4.314", "4.3141"),
        ("size_mb>4.314051", "4.314"),
        ("parameters<=1075000", "1076000"),
        ("images_per_second>=12345.5", "12345"),
        ("cold_start_s<0.41", "0.41"),
    ],
)
def test_what_is_said_breaks_the_requirement_too(
    bench_result: Any, requirement: str, reason: str
) -> None:
    bench_result["models"][0]["latency"][0]["model"]["images_per_second"] = 12345.49
    lines = failures(bench_result, [parse(requirement)], ["student.onnx"])
    assert lines[0].partition("does not hold: ")[2].split()[0] == reason


def test_figures_that_the_images_say_nothing_about_are_refused(bench_result: Any) -> None:
    quality = bench_result["models"][0]["quality"]
    wanted = [parse("h_score.low>=0.6"), parse("accuracy>=0.5"), parse("p50_ms<=5")]
    refuse_unanswerable(wanted, quality)
    quality |= {"unknown": 0, "h_score": {"value": None, "low": None, "high": None}}
    with raises(BenchError, "h_score.low>=0.6", "unknown classes"):
        refuse_unanswerable(wanted, quality)
    refuse_unanswerable(wanted[1:], quality)
