import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from culprits import raises
from PIL import Image

from edgedistill.errors import OutputError
from edgedistill.report import ReportData, write_report
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
    for text in (*data.known, data.name, data.domain, data.recipe.strip()):
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
    assert "none of unknown classes" in text and "needs known and unknown images" in text
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
