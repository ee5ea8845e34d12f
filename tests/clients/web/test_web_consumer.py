"""export/web in a headless Chromium: built as a user builds it, served from one folder."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedistill.runtime import Classifier
from edgedistill.runtime.preprocess import read_rgb

READY = "!document.getElementById('files').disabled"
PIXELS = """
(async () => {
  const [{ decode, strips }, { stretch }] =
    await Promise.all([import("./pictures.js"), import("./js/pixels.js")]);
  const found = [];
  for (const file of document.getElementById("kept").files) {
    const bitmap = await decode(file);
    const image = stretch(bitmap.width, bitmap.height, SIZE, strips(bitmap));
    found.push(btoa(String.fromCharCode(...image)));
  }
  return found;
})()
"""
SHOTS = """
[...document.querySelectorAll("#shots li")].map(({ dataset, innerText }) =>
  ({ ...dataset, caption: innerText.trim() }))
"""


@pytest.fixture(scope="module")
def built(installed: Callable[[str], Path]) -> Path:
    """The folder that `npm run build` makes, with no model in it."""
    folder = installed("web")
    subprocess.run(["npm", "run", "build", "--silent"], cwd=folder, check=True, capture_output=True)
    return folder / "dist"


@pytest.fixture(scope="module")
def address(built: Path, exported: Path, serve: Callable[[Path], str]) -> str:
    """Where the page is served, with the exported model beside it."""
    shutil.copy(exported, built / "student.onnx")
    return serve(built)


@pytest.fixture
def opened(page: Any, address: str) -> Any:
    """The page, its model loaded."""
    page.screen(1280, 860)
    page.open(address)
    page.until(READY)
    return page


def shots(page: Any, count: int) -> list[dict[str, str]]:
    page.until(f"document.querySelectorAll('#shots li[data-state]').length === {count}")
    shown: list[dict[str, str]] = page.js(SHOTS)
    return shown


def set_threshold(page: Any, value: float) -> None:
    page.js(f"""(() => {{
      const input = document.getElementById("threshold-value");
      input.value = {value!r};
      input.dispatchEvent(new Event("input"));
    }})()""")


@pytest.mark.parametrize("which", ["exported", "crafted", "quantized"])
def test_labels_and_scores_are_those_of_the_python_runtime(
    which: str,
    opened: Any,
    pictures: Path,
    tolerance: dict[str, float],
    request: pytest.FixtureRequest,
) -> None:
    near = tolerance[which]
    model: Path = request.getfixturevalue(which)
    if which != "exported":
        named = {"crafted": "crafted", "quantized": "int8"}[which]
        opened.choose("model-file", model)
        opened.until(f"document.getElementById('model').innerText.includes('{named}')")
    files = sorted(pictures.iterdir())
    opened.choose("files", *files)
    shown = shots(opened, len(files))
    classifier = Classifier(model, threads=1)
    expected = classifier.predict(files, batch_size=1)
    for file, shot, prediction in zip(files, shown, expected, strict=True):
        assert shot["name"] == file.name
        assert float(shot["score"]) == pytest.approx(prediction.score, abs=near), file.name
        first, second = (share for _, share in prediction.top(2))
        assert shot["nearest"] == prediction.nearest or first - second <= near, file.name
    # In the widest gap between two scores, so that rounding decides nothing.
    scores = np.sort([prediction.score for prediction in expected])
    below = int(np.diff(scores).argmax())
    limit = float(scores[below : below + 2].mean())
    set_threshold(opened, limit)
    answers = classifier.predict(files, batch_size=1, threshold=limit)
    for shot, prediction in zip(shots(opened, len(files)), answers, strict=True):
        first, second = (share for _, share in prediction.top(2))
        if abs(prediction.score - limit) < near or first - second <= near:
            continue
        assert shot["state"] == ("known" if prediction.known else "unknown")
        assert shot["caption"] == (prediction.label or "unknown")
    if which == "crafted":
        known = sum(prediction.known for prediction in answers)
        assert 0 < known < len(files)
        assert f"{known} known · {len(files) - known} unknown" in opened.text()
    assert opened.log == []


def test_pixels_are_those_of_training(
    opened: Any, pictures: Path, odd_pngs: list[Path], soft_picture: Path
) -> None:
    opened.js("""(() => {
      const input = document.createElement("input");
      Object.assign(input, { type: "file", multiple: true, id: "kept" });
      document.body.append(input);
    })()""")
    files = [*sorted(pictures.iterdir()), *odd_pngs, soft_picture]
    opened.choose("kept", *files)
    size = 20
    pixels = opened.js(PIXELS.replace("SIZE", str(size)))
    for file, line in zip(files, pixels, strict=True):
        image = np.frombuffer(base64.b64decode(line), np.uint8).reshape(size, size, 3)
        # A canvas keeps half-transparent colours premultiplied, and so one step less exactly; a
        # browser cuts gray of 16 bits.
        allowed = 1 if file == soft_picture or file.stem == "deep" else 0
        difference = np.abs(image.astype(int) - read_rgb(file, size))
        assert difference.max() <= allowed, (file.name, int(difference.max()))


def test_an_unknown_picture_is_shown_as_such_and_the_slider_changes_it(
    opened: Any, exported: Path, pictures: Path
) -> None:
    picture = pictures / "photo0.png"
    opened.choose("files", picture)
    shots(opened, 1)
    prediction = Classifier(exported, threads=1).predict(picture)
    set_threshold(opened, prediction.score + 0.01)
    assert opened.js("document.getElementById('label').innerText") == "Unknown"
    reason = opened.js("document.getElementById('reason').innerText")
    assert "is below the threshold" in reason
    assert f"Nearest known class: {prediction.nearest}." in reason
    assert opened.js("document.getElementById('announcer').innerText") == "Unknown"
    # The slider, by its keys alone.
    opened.js("document.getElementById('threshold').focus()")
    opened.key("Home")
    assert opened.js("document.getElementById('label').innerText") == prediction.nearest
    lowest = opened.js("document.getElementById('threshold').getAttribute('aria-valuetext')")
    opened.key("ArrowRight")
    assert (
        opened.js("document.getElementById('threshold').getAttribute('aria-valuetext')") != lowest
    )
    opened.js("document.getElementById('reset').click()")
    limit = Classifier(exported, threads=1).threshold
    shown = opened.js("document.getElementById('threshold-value').valueAsNumber")
    assert shown == pytest.approx(limit, rel=1e-5)
    first = opened.js("document.getElementById('nearest').innerText").split("\n")[0]
    assert first.startswith(prediction.nearest)
    assert re.fullmatch(
        r"Model [\d.]+ ms · resize [\d.]+ ms",
        opened.js("document.getElementById('latency').innerText"),
    )


def test_bad_files_are_named_and_the_page_goes_on(
    opened: Any, crafted: Path, pictures: Path, deep_tiffs: list[Path], tmp_path: Path
) -> None:
    empty, text, huge = (tmp_path / name for name in ("empty.png", "text.jpg", "huge.png"))
    empty.write_bytes(b"")
    text.write_text("no picture")
    Image.new("1", (20_000, 20_000)).save(huge)
    for number, (path, why) in enumerate(
        (
            (empty, "not an image"),
            (text, "not an image"),
            (huge, "too many"),
            (deep_tiffs[0], "not an image"),
        )
    ):
        opened.choose("files", path)
        shown = shots(opened, number + 1)
        assert shown[-1]["caption"] == "unreadable"
        problem = opened.js("document.getElementById('problem').innerText")
        assert path.name in problem and why in problem
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(crafted.read_bytes()[:-40])
    opened.choose("model-file", broken)
    opened.until("document.getElementById('problem').innerText.includes('broken.onnx')")
    opened.choose("files", pictures / "tiny.png")
    assert shots(opened, 5)[-1]["state"] in {"known", "unknown"}
    assert opened.js("document.getElementById('problem').innerText") == ""


def test_without_a_model_the_page_asks_for_one(
    page: Any, built: Path, crafted: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "page", ignore=shutil.ignore_patterns("student.onnx"))
    page.open(serve(tmp_path / "page"))
    page.until("document.getElementById('model').innerText.startsWith('No model')")
    assert page.js("document.getElementById('files').disabled")
    page.choose("model-file", crafted)
    page.until(READY)
    # Names from the file are text, whatever they look like.
    assert "<b>ladder</b>" in page.js("document.getElementById('known').innerText")


def test_the_camera_is_answered_and_turned_off(opened: Any) -> None:
    opened.js("document.getElementById('camera').click()")
    opened.until("document.getElementById('latency').innerText.includes('frames')")
    assert opened.js("document.getElementById('label').dataset.state") in {"known", "unknown"}
    assert opened.js("document.getElementById('video').srcObject.active")
    opened.js("document.getElementById('camera').click()")
    opened.until("document.getElementById('video').srcObject === null")
    assert opened.js("document.getElementById('label').innerText") == "No picture yet"
    assert opened.log == []


def test_everything_comes_from_the_pages_own_folder(opened: Any, address: str, built: Path) -> None:
    fetched = opened.js("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert fetched and all(name.startswith(address) for name in fetched)
    policy = opened.js("document.querySelector('meta[http-equiv]').content")
    assert "default-src 'none'" in policy and "http" not in policy
    written = "".join(path.read_text() for path in built.glob("*.*") if path.suffix != ".onnx")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", written)


def test_keyboard_reaches_everything_in_reading_order(opened: Any, pictures: Path) -> None:
    opened.choose("files", pictures / "photo0.png", pictures / "photo1.png")
    shots(opened, 2)
    opened.js("document.activeElement.blur()")
    order = []
    for _ in range(9):
        opened.key("Tab")
        order.append(opened.js("document.activeElement.id || document.activeElement.title"))
    assert order == [
        "model-file",
        "files",
        "camera",
        "threshold-value",
        "reset",
        "threshold",
        "clear",
        "photo0.png",
        "photo1.png",
    ]
    opened.key("Enter")
    assert opened.js("document.getElementById('photo').alt") == "photo1.png"


def test_a_screen_reader_gets_names_values_and_news(opened: Any, pictures: Path) -> None:
    opened.choose("files", pictures / "photo0.png")
    shots(opened, 1)
    nodes = opened.send("Accessibility.getFullAXTree")["nodes"]
    tree = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    roles = dict.fromkeys(role for role, _ in tree)
    assert {"banner", "main", "contentinfo", "slider", "alert"} <= set(roles)
    for role, name in (
        ("slider", "Threshold"),
        ("spinbutton", "Threshold, exact"),
        ("button", "Use the camera"),
        ("button", "Reset to the calibrated threshold"),
        ("heading", "Answer"),
        ("region", "Answer"),
        ("image", "photo0.png"),
    ):
        assert (role, name) in tree, (role, name)
    for role, name in tree:
        if role in {"button", "slider", "spinbutton", "image", "heading", "region"}:
            assert name, f"a {role} without a name"
    label = opened.js("document.getElementById('label').innerText")
    assert opened.js("document.getElementById('announcer').innerText").startswith(f"{label}. Score")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Any, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    opened.send("Emulation.setEmulatedMedia", features=features)
    names = ("paper", "card", "ink", "soft", "edge", "known", "unknown")
    colors = opened.js(f"""(() => {{
      const style = getComputedStyle(document.documentElement);
      return {json.dumps(names)}.map((name) => style.getPropertyValue(`--${{name}}`));
    }})()""")
    opened.send("Emulation.setEmulatedMedia", features=[])
    color = dict(zip(names, map(_luminance, colors), strict=True))
    for ground in ("paper", "card"):
        for text in ("ink", "soft", "known", "unknown"):
            assert _contrast(color[text], color[ground]) >= 4.5, (text, ground)
        assert _contrast(color["edge"], color[ground]) >= 3, ground


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_fits_the_screen(opened: Any, pictures: Path, width: int) -> None:
    opened.screen(width, 844, mobile=width < 1000)
    opened.choose("files", *sorted(pictures.iterdir()))
    shots(opened, len(list(pictures.iterdir())))
    assert opened.js("document.documentElement.scrollWidth") <= width
    # Fingers need room: 44 CSS pixels.
    sizes = opened.js("""[...document.querySelectorAll(".button, #threshold, #threshold-value")]
      .map((element) => element.getBoundingClientRect().height)""")
    assert min(sizes) >= 44
    # The answer is in sight without scrolling.
    assert opened.js("document.getElementById('label').getBoundingClientRect().bottom") < 844


def _luminance(color: str) -> float:
    channels = [int(color.strip()[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
