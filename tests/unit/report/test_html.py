import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.errors import OutputError
from edgedistill.report import AnsweredImages, FeatureMaps, ReportData, SampleImages, write_report
from edgedistill.report.html import figures, render

PICTURES = {"curves.png", "scores.png", "confusion.png", "risk_coverage.png", "answers.png"}


class _Page(HTMLParser):
    """Collects what a browser would see: tags with attributes, and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def pictures(data: ReportData) -> dict[str, bytes]:
    return figures(data)


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_the_folder_holds_the_page_and_its_pictures(tmp_path: Path, data: ReportData) -> None:
    paths = write_report(tmp_path, data)
    assert {path.name for path in paths} == PICTURES | {"report.html"}
    assert set(paths) == set(tmp_path.iterdir())
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
                assert image.format == "PNG" and image.width > 300


def test_the_page_needs_nothing_from_outside(data: ReportData, pictures: dict[str, bytes]) -> None:
    html = render(data, pictures)
    page = _Page(html)
    assert "http://" not in html and "https://" not in html and "url(" not in html
    sources = [v or "" for _, a in page.tags for k, v in a.items() if k in ("src", "href")]
    assert len(sources) == len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_names_cannot_break_out_of_the_page(data: ReportData, pictures: dict[str, bytes]) -> None:
    html = render(data, pictures)
    page = _Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "link"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    for text in (*data.known, data.name, data.test_name, data.recipe.strip()):
        assert text in page.text


def test_the_headline_is_in_the_page(data: ReportData, pictures: dict[str, bytes]) -> None:
    text = _flat(_Page(render(data, pictures)).text)
    target = data.metrics["target"]
    for key in ("h_score", "accuracy", "auroc", "known_acceptance", "unknown_rejection"):
        assert f"{100 * target[key]:.1f} %" in text
    assert "zero-shot: 91.2 %" in text and "Trained in 1 h 2 min" in text
    assert f"{target['images_unknown']} images of classes it was never taught" in text
    assert "cpu.cores" in text and "avx2, fma" in text


@pytest.mark.parametrize("threshold", [None, -np.inf])
def test_a_target_without_unknown_images(
    data: ReportData, tmp_path: Path, threshold: float | None
) -> None:
    known = data.target_labels >= 0
    metrics = {
        "target": {"domain": "camera", "accuracy": 0.9, "h_score": None, "auroc": None},
        "openset": {"score": "energy", "threshold": threshold},
    }
    plain = replace(
        data,
        metrics=metrics,
        target_scores=data.target_scores[known],
        target_labels=data.target_labels[known],
        target_predictions=data.target_predictions[known],
        samples=None,
        history=[],
    )
    assert plain.accepted.all()
    write_report(tmp_path, plain)
    text = _flat(_Page((tmp_path / "report.html").read_text("utf-8")).text)
    assert "none of unknown classes" in text and "H-score" not in text
    assert text.index("90.0 %") < text.index("The numbers")
    assert "No threshold is set" in text and "AUROC" not in text and "None" not in text


def test_a_target_without_any_image(data: ReportData, tmp_path: Path) -> None:
    empty = np.zeros(0, np.int64)
    write_report(
        tmp_path,
        replace(
            data,
            metrics={},
            source_val_scores=empty.astype(float),
            source_val_correct=empty.astype(bool),
            target_scores=empty.astype(float),
            target_labels=empty,
            target_predictions=empty,
            samples=None,
        ),
    )
    assert re.search(
        r"0\s+images of 4 known classes", (tmp_path / "report.html").read_text("utf-8")
    )


def test_a_folder_that_cannot_be_written_is_named(data: ReportData, tmp_path: Path) -> None:
    with raises(OutputError, tmp_path / "absent"):
        write_report(tmp_path / "absent", data)


@pytest.fixture(scope="module")
def light(data: ReportData) -> ReportData:
    """The run without sample images and history, whose plots are then drawn fast."""
    return replace(data, samples=None, history=[])


def _rendered(data: ReportData, folder: Path) -> tuple[str, set[str]]:
    write_report(folder, data)
    page = (folder / "report.html").read_text("utf-8")
    return _flat(_Page(page).text), {path.name for path in folder.glob("*.png")}


def test_held_out_images_are_called_that(light: ReportData, tmp_path: Path) -> None:
    metrics = dict(light.metrics) | {"test_kind": "held-out", "sources": ["photos & scans"]}
    metrics["target"] = dict(metrics["target"]) | {"domain": None}
    text, pictures = _rendered(replace(light, metrics=metrics), tmp_path)
    assert "held-out images of the same domain (photos & scans)" in text
    assert "never saw" not in text and "None" not in text and pictures == PICTURES


def test_a_run_that_tested_on_nothing_shows_source_validation(
    light: ReportData, tmp_path: Path
) -> None:
    metrics = {
        "test_kind": "none",
        "target": None,
        "source_val": {"accuracy": 0.973, "known_acceptance": 0.951},
        "openset": light.metrics["openset"],
    }
    empty = np.zeros(0, np.int64)
    nothing = replace(
        light,
        metrics=metrics,
        target_scores=empty.astype(float),
        target_labels=empty,
        target_predictions=empty,
    )
    text, pictures = _rendered(nothing, tmp_path)
    assert "tested on no image" in text and "97.3 %" in text and "95.1 %" in text
    assert "n/a" not in text and "Class by class" not in text
    assert pictures == {"scores.png", "risk_coverage.png", "curves.png"}


@pytest.mark.parametrize("far", [True, False])
def test_answers_without_labels_get_no_metrics(data: ReportData, tmp_path: Path, far: bool) -> None:
    metrics = {
        "test_kind": "unlabelled",
        "target": None,
        "unlabelled": {
            "domain": "new camera",
            "acceptance": 0.625,
            "shift": {"auroc": 0.813, "bound": 0.7, "p_value": 0.0, "far": far},
        },
        "source_val": {"accuracy": 0.973},
        "teacher": None,
        "openset": data.metrics["openset"],
    }
    assert isinstance(data.samples, SampleImages)
    shown = data.samples
    unlabelled = replace(
        data,
        metrics=metrics,
        target_labels=np.full(len(data.target_labels), -1),
        samples=AnsweredImages(shown.images, shown.predictions, shown.scores, shown.accepted),
    )
    text, pictures = _rendered(unlabelled, tmp_path)
    assert "80 images without labels from new camera" in text and "62.5 %" in text
    assert ("far from the training domains" in text) == ("81.3 %" in text) == far
    assert not any(name in text for name in ("H-score", "AUROC", "Closed-set", "closed-set, n"))
    assert pictures == PICTURES - {"confusion.png"}


def test_the_h_score_of_other_shares_to_keep_is_shown_as_a_ceiling(
    light: ReportData, tmp_path: Path
) -> None:
    points = [
        {"keep": keep, "h_score": h, "known_acceptance": keep, "unknown_rejection": 1 - keep}
        for keep, h in ((0.5, 0.444), (0.7, 0.612), (0.9, 0.333))
    ]
    by_keep = {"reads": "target labels", "points": points, "best": points[1]}
    text, pictures = _rendered(
        replace(light, metrics=dict(light.metrics) | {"h_score_by_keep": by_keep}), tmp_path
    )
    assert pictures == PICTURES | {"keep.png"}
    assert "At 0.7 the H-score would be 61.2 %" in text and "takes the labels" in text


def test_warnings_of_the_data_and_the_next_command_are_in_the_page(
    light: ReportData, tmp_path: Path
) -> None:
    lines = ("left out 3 files: <broken> links", "classes cat and Cat look alike")
    command = "edgedistill export 'runs/a b' --onnx"
    text, _ = _rendered(replace(light, warnings=lines, next_command=command), tmp_path)
    assert all(line in text for line in lines)
    assert text.index(command) > text.index("To repeat this run")


def test_a_thousand_classes_stay_readable(light: ReportData, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count, names = 200_000, [f"class_{number:04d}" for number in range(1000)]
    labels = rng.integers(-1, 1000, count)
    predictions = np.where(rng.random(count) < 0.7, labels % 1000, rng.integers(0, 1000, count))
    # One pair stands out, and one class is never right.
    predictions[labels == 7] = 8
    scores = rng.random(count).astype(np.float32)
    threshold = 0.05
    metrics = {
        "target": {"domain": "street", "accuracy": 0.7, "h_score": 0.1},
        "openset": {"score": "max_softmax", "threshold": threshold, "acceptance": 0.95},
    }
    large = replace(
        light,
        metrics=metrics,
        known=names,
        source_val_scores=rng.random(40_000),
        source_val_correct=rng.random(40_000) < 0.8,
        target_scores=scores,
        target_labels=labels,
        target_predictions=predictions,
    )
    text, pictures = _rendered(large, tmp_path)
    assert pictures == PICTURES - {"confusion.png"}
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 2_000_000
    worst = text.index("Worst confusions")
    assert text.index("class_0007") == text.index("class_0007", worst)
    assert text.index("class_0008") < text.index("Class by class")
    assert "100 of 1,000 classes" in text and text.count("class_0") < 1000


CHECK = {
    "teacher": "T",
    "images": 90,
    "accuracy": 0.432,
    "chance": 0.125,
    "probe_accuracy": 0.876,
    "probe_images": 1234,
    "images_unknown": 0,
    "auroc": None,
    "gap": 0.321,
    "verdict": "names",
}


@pytest.mark.parametrize("verdict", ["trusted", "names", "chance"])
def test_the_teacher_on_source_validation_and_what_to_do_about_it(
    data: ReportData, pictures: dict[str, bytes], verdict: str
) -> None:
    metrics = {**data.metrics, "teacher_check": {**CHECK, "verdict": verdict}}
    text = _flat(_Page(render(replace(data, metrics=metrics), pictures)).text)
    assert "43.2 %" in text and "87.6 %" in text and "1,234 training images" in text
    assert ("prompts.names" in text) == ("32.1 %" in text) == (verdict == "names")
    assert ("12.5 %" in text) == (verdict == "chance")


def test_a_run_without_a_teacher_has_no_row_of_its_check(
    data: ReportData, pictures: dict[str, bytes]
) -> None:
    metrics = {**data.metrics, "teacher": None, "teacher_check": None}
    text = _flat(_Page(render(replace(data, metrics=metrics), pictures)).text)
    assert "linear probe" not in text and "Teacher accuracy" not in text


def test_what_training_added_stands_beside_the_start_weights(
    data: ReportData, pictures: dict[str, bytes]
) -> None:
    def page(**more: object) -> str:
        metrics = {**data.metrics, **more}
        return _flat(_Page(render(replace(data, metrics=metrics), pictures)).text)

    start = {
        "source_val": {"accuracy": 0.234},
        "target": {"accuracy": 0.345, "h_score": 0.456, "auroc": 0.567, "known_acceptance": 0.9},
    }
    text = page(start=start)
    assert all(figure in text for figure in ("34.5 %", "45.6 %", "56.7 %"))
    assert "23.4 %" not in text
    assert "23.4 %" in page(start={**start, "target": None}, target=None, test_kind="none")
    assert "start weights" not in page(start=None)


def test_thirds_of_the_classes_and_unknowns_of_the_sources_are_shown(
    light: ReportData,
) -> None:
    def rows(accuracy: float) -> list[dict[str, Any]]:
        return [
            {
                "third": third,
                "classes": ["a", "b"],
                "training_images": 1234,
                "images": 10,
                "accuracy": accuracy,
                "auroc": None,
            }
            for third in ("major", "middle", "minor")
        ]

    heading = "Classes by their training images"
    pictures: dict[str, bytes] = dict.fromkeys(figures(light), b"")
    assert heading not in _Page(render(light, pictures)).text
    target = {**light.metrics["target"], "class_thirds": rows(0.123)}
    source = {**light.metrics["target"], "auroc": 0.777, "class_thirds": rows(0.456)}
    metrics = {**light.metrics, "target": target, "source_open_set": source}
    text = _flat(_Page(render(replace(light, metrics=metrics), pictures)).text)
    assert "Source validation, with unknown classes" in text
    assert heading in text and text.count("minor") >= 2 and "1,234" in text
    assert "12.3 %" in text and "45.6 %" in text and "77.7 %" in text


def test_features_are_drawn_where_the_recipe_asks_for_them(light: ReportData) -> None:
    points = np.random.default_rng(0).standard_normal((7, 2))
    labels = np.array([0, 1, 0, -1, -1, 1, 0])
    maps = FeatureMaps({"student": points, "teacher": points}, labels)
    assert "features.png" not in figures(light)
    with_maps = replace(light, feature_maps=maps)
    pictures = figures(with_maps)
    assert pictures["features.png"].startswith(b"\x89PNG")
    assert "7 test images by their features" in _flat(_Page(render(with_maps, pictures)).text)
