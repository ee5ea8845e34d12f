"""Forms of a benchmark's result: terminal, Markdown, picture, page."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import reduce
from io import BytesIO, StringIO
from operator import getitem
from pathlib import Path
from typing import Any, get_type_hints

import matplotlib
import pytest
from culprits import raises
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from edgedistill.bench.html import write_bench_report
from edgedistill.bench.markdown import to_markdown
from edgedistill.bench.pareto import pareto, points, quality_metric
from edgedistill.bench.result import Comparison, MeasurementSettings, Model, Result
from edgedistill.bench.sheet import comparisons, notes
from edgedistill.bench.table import print_result
from edgedistill.errors import OutputError
from edgedistill.report.style import png

GOLDEN = Path(__file__).parent / "golden"
Mismatches = Callable[[Any, Any], list[str]]


def printed(result: Any, width: int) -> str:
    text = StringIO()
    console = Console(
        file=text, width=width, force_terminal=True, color_system=None, highlight=False
    )
    print_result(result, console)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


@pytest.fixture
def without_data(bench_result: Any) -> Any:
    result = copy.deepcopy(bench_result)
    for model in result["models"]:
        model["quality"] = None
    for each in result["comparisons"]:
        each["quality"] = None
    return result


def test_the_example_is_of_the_schema(bench_result: Any, mismatches: Mismatches) -> None:
    assert mismatches(bench_result, Result) == []


@pytest.mark.parametrize(
    ("place", "key", "wrong"),
    [
        ((), "extra", 1),
        (("machine",), "cores", "four"),
        (("noise",), "verdict", "loud"),
        (("models", 0), "parameters", 1.5),
        (("models", 0, "quality", "auroc"), "low", "0.1"),
        (("models", 2, "latency", 1, "model"), "rounds_ms", [1.0, None]),
        (("comparisons", 0, "quality"), "speed", {"value": 0, "low": 0, "high": 0, "p": 1}),
    ],
)
def test_what_is_not_of_the_schema_is_found(
    bench_result: Any, mismatches: Mismatches, place: tuple[Any, ...], key: str, wrong: Any
) -> None:
    reduce(getitem, place, bench_result)[key] = wrong
    assert len(mismatches(bench_result, Result)) == 1


def test_the_documented_keys_are_those_of_the_schema() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "json-schemas.md").read_text("utf-8")
    table = page.partition("## result.json")[2]
    rows = dict(re.findall(r"^\| `([\w.\[\]]+)` \| (.*) \|$", table, re.MULTILINE))
    assert {name.partition("[")[0] for name in rows} == get_type_hints(Result).keys() - {"schema"}
    for name, hint in (
        ("models[]", Model),
        ("method", MeasurementSettings),
        ("comparisons[]", Comparison),
    ):
        documented = set(re.findall(r"`(\w+)(?:\[\])?`", rows[name]))
        inner = {
            part.rpartition(".")[2].strip("[]") for part in rows if part.startswith("models[]")
        }
        assert get_type_hints(hint).keys() <= documented | inner, name


def test_table_is_the_golden_one(bench_result: Any) -> None:
    assert printed(bench_result, 110) == (GOLDEN / "table.txt").read_text("utf-8")


def test_markdown_is_the_golden_one(bench_result: Any) -> None:
    assert to_markdown(bench_result) == (GOLDEN / "result.md").read_text("utf-8")


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_any_width_shows_every_model_with_every_label(bench_result: Any, width: int) -> None:
    text = printed(bench_result, width)
    assert text.count("cold start, s") == {30: 3, 40: 3, 60: 3, 80: 2, 200: 1}[width]
    assert max(map(len, text.partition("Data:")[0].splitlines())) <= width
    # Without the frame of a table and the ends of lines.
    words = " ".join(re.sub("[│┃]", " ", text).split())
    for shown in ("student-int8.onnx", "other.onnx", "67.2 [63.1, 71.1]", "62.0 [57.9, 65.9]"):
        assert shown in words
    compared = words.partition("Compared with student.onnx")[2]
    for label in ("H-score, deployed", "accuracy, closed-set", "AUROC", "time, 1 thread, batch 8"):
        assert compared.count(label) == 2
    for shown in ("-6.1 points", "[-9.3, -2.8]", "0.001", "not significant", "x 0.65", "faster"):
        assert shown in compared


def test_names_are_no_marks(bench_result: Any) -> None:
    for model in bench_result["models"]:
        model["name"] = f"[red]_|<b>`{model['name']}"
    assert "[red]_|<b>`other.onnx" in printed(bench_result, 200)
    assert r"\[red]\_\|\<b>\`other.onnx" in to_markdown(bench_result)


def test_many_models_stand_below_one_another(bench_result: Any) -> None:
    bench_result["models"] = [
        {**bench_result["models"][0], "name": f"m{number}.onnx"} for number in range(6)
    ]
    lines = to_markdown(bench_result).splitlines()
    assert sum(line.startswith("| m5.onnx |") for line in lines) == 4


def test_verdicts_name_a_direction_only_where_it_is_significant(bench_result: Any) -> None:
    rows = {(each.model, each.figure): each for each in comparisons(bench_result)}
    assert rows["student-int8.onnx", "H-score, deployed"].verdict == "not significant"
    assert rows["other.onnx", "AUROC"].verdict == "worse"
    assert rows["other.onnx", "AUROC"].p == "< 0.001"
    # More unknown images accepted is worse.
    assert rows["other.onnx", "FPR95, lower is better"].change == "+10.0 points"
    assert rows["other.onnx", "FPR95, lower is better"].verdict == "worse"
    assert rows["student-int8.onnx", "time, 1 thread, batch 1"].verdict == "faster"


def test_a_noisy_machine_is_said_so(bench_result: Any) -> None:
    assert "too noisy" not in "\n".join(notes(bench_result))
    assert "noisy" not in texts(pareto(bench_result))
    bench_result["noise"] |= {"verdict": "noisy", "worst": 0.31}
    batched = bench_result["noise"]["settings"][1]
    batched["model"]["noise"] = 0.31
    # The picture shows the first setting, which is quiet.
    assert "noisy" not in texts(pareto(bench_result))
    text = "\n".join(notes(bench_result))
    assert "2.0 % (model) and 1.0 % (image to decision) with 1 thread, batch 1;" in text
    assert "31.0 % (model) and 1.0 % (image to decision) with 1 thread, batch 8." in text
    assert "Above the limit of 5 %: this machine is too noisy" in text
    bench_result["noise"]["settings"][0]["model"]["noise"] = 0.12
    assert "noisy, ± 12 %" in texts(pareto(bench_result))


def test_a_domain_that_a_file_was_trained_on_is_said_so(bench_result: Any) -> None:
    assert "held out" not in "\n".join(notes(bench_result))
    bench_result["models"][2]["quality"]["own_target"] = "paint"
    lines = [line for line in notes(bench_result) if "held out" in line]
    assert len(lines) == 1 and lines[0].startswith("other.onnx was trained with paint held out")
    bench_result["models"][2]["quality"] |= {"target": None}
    assert "held out" not in "\n".join(notes(bench_result))


def test_without_labelled_images(without_data: Any, tmp_path: Path) -> None:
    text = printed(without_data, 120) + to_markdown(without_data)
    assert "H-score" not in text and "Intervals" not in text and "1.10 ± 0.027" in text
    assert points(without_data) == [] and quality_metric(without_data) is None
    with pytest.raises(ValueError, match="no quality"):
        pareto(without_data)
    # Of an earlier report, with labelled images.
    (tmp_path / "pareto.png").write_bytes(b"picture")
    written = write_bench_report(tmp_path, without_data)
    assert [path.name for path in written] == ["result.json", "result.md", "report.html"]
    assert not (tmp_path / "pareto.png").exists()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "No labelled images were given" in page and "<img" not in page


def test_the_front_is_of_what_everything_else_is_slower_or_worse_than(bench_result: Any) -> None:
    assert {point.name: point.best for point in points(bench_result)} == {
        "student.onnx": True,
        "student-int8.onnx": True,
        "other.onnx": False,
    }
    # As good as the int8 file, and slower.
    bench_result["models"][0]["quality"]["h_score"] = bench_result["models"][1]["quality"][
        "h_score"
    ]
    assert [point.best for point in points(bench_result)] == [False, True, False]
    figure = pareto(bench_result)
    text = texts(figure)
    assert "another is no slower and no worse" in text
    for shown in ("student-int8, 1.3 MB", "target sea", "Pareto front", "one student", "int8"):
        assert shown in text
    with Image.open(BytesIO(png(figure, dpi=40))) as image:
        image.load()
        assert min(image.size) > 100


def test_fp32_and_int8_are_joined_by_their_names(bench_result: Any) -> None:
    def joined() -> bool:
        return "one student" in texts(pareto(bench_result))

    assert joined()
    bench_result["models"][1]["path"] = "/runs/another/student-int8.onnx"
    assert not joined()
    bench_result["models"][1]["path"] = "/runs/tiny/int8/student.onnx"
    bench_result["models"][0]["path"] = "/runs/tiny/fp32/student.onnx"
    assert joined()


def test_without_unknown_images_accuracy_is_drawn(bench_result: Any) -> None:
    for model in bench_result["models"]:
        model["quality"]["h_score"] = {"value": None, "low": None, "high": None}
    assert quality_metric(bench_result) == "accuracy"
    assert "accuracy, closed-set on recipes/tiny.toml" in texts(pareto(bench_result))


def test_an_area_that_is_not_the_size_is_said_so(bench_result: Any) -> None:
    assert "area = file size from" not in texts(pareto(bench_result))
    bench_result["models"][0]["bytes"] = 300_000_000
    assert "area = file size from 1.1 to 68 MB" in texts(pareto(bench_result))


def test_times_far_apart_are_drawn_on_a_logarithmic_axis(bench_result: Any) -> None:
    assert pareto(bench_result).axes[0].get_xscale() == "linear"
    bench_result["models"][2]["latency"][0]["model"] |= {"p50_ms": 90, "rounds_ms": [89, 90, 95]}
    assert pareto(bench_result).axes[0].get_xscale() == "log"


def test_the_page_is_complete_in_itself(bench_result: Any, tmp_path: Path) -> None:
    bench_result["models"][2]["name"] = bench_result["comparisons"][1]["model"] = "<i>x</i>.onnx"
    written = write_bench_report(tmp_path / "new" / "folder", bench_result)
    assert {path.name for path in written} == {
        "report.html",
        "result.json",
        "result.md",
        "pareto.png",
    }
    folder = tmp_path / "new" / "folder"
    assert json.loads((folder / "result.json").read_text("utf-8")) == bench_result
    page = (folder / "report.html").read_text("utf-8")
    assert "<i>" not in page and "&lt;i&gt;x&lt;/i&gt;.onnx" in page
    assert re.findall(r'(?:src|href)="(?!data:image/png)', page) == []
    for shown in (
        "68.1 [64.0, 72.0]",
        "not significant",
        "Counted as unknown: star, moon.",
        "max_cosine &gt;= 0.25",
        "Example CPU @ 2.40GHz",
        "avx512_vnni",
        "1 unreadable left out",
        "student.onnx, student-int8.onnx",
    ):
        assert shown in page, shown


def test_a_report_that_cannot_be_written_is_one_line(bench_result: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises(OutputError, tmp_path / "file"):
        write_bench_report(tmp_path / "file", bench_result)
