"""export/node/classify.js, run as a user runs it, with onnxruntime-node and sharp from npm."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedistill.runtime import Classifier
from edgedistill.runtime.preprocess import read_rgb

Run = Callable[..., tuple[int, list[str], list[str]]]

PROGRAM = Path(__file__).with_name("programs") / "read_pixels.mjs"


@pytest.fixture(scope="module")
def folder(installed: Callable[[str], Path]) -> Path:
    return installed("node")


@pytest.fixture(scope="module")
def classify(folder: Path) -> Run:
    def run(*arguments: Path | str) -> tuple[int, list[str], list[str]]:
        done = subprocess.run(
            ["node", "classify.js", "--threads=1", *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run


@pytest.mark.parametrize(
    "which",
    ["exported", "crafted", "quantized", pytest.param("prompted", marks=pytest.mark.slow)],
)
def test_answers_are_those_of_the_python_runtime(
    which: str,
    classify: Run,
    pictures: Path,
    tolerance: dict[str, float],
    request: pytest.FixtureRequest,
) -> None:
    near = tolerance[which]
    model: Path = request.getfixturevalue(which)
    files = sorted(pictures.iterdir())
    classifier = Classifier(model, threads=1)
    scores = np.sort([p.score for p in classifier.predict(files, batch_size=1)])
    # In the widest gap between two scores, so that rounding decides nothing.
    below = int(np.diff(scores).argmax())
    limit = float(scores[below : below + 2].mean())
    status, out, err = classify("--json", f"--threshold={limit!r}", model, *files)
    assert (status, err) == (0, [])
    predictions = classifier.predict(files, batch_size=1, threshold=limit)
    for file, line, expected in zip(files, out, predictions, strict=True):
        answer = json.loads(line)
        assert answer["image"] == str(file)
        first, second = (share for _, share in expected.top(2))
        clear = abs(expected.score - limit) > near and first - second > near
        for name in ("threshold", *(("nearest", "label", "known") if clear else ())):
            assert answer[name] == getattr(expected, name), (file.name, name)
        assert answer["score"] == pytest.approx(expected.score, abs=near), file.name
        assert list(answer["probabilities"]) == list(expected.probabilities)
        probabilities = list(answer["probabilities"].values())
        assert probabilities == pytest.approx(list(expected.probabilities.values()), abs=near), (
            file.name
        )
    if which == "crafted":
        assert {expected.known for expected in predictions} == {True, False}


def test_pixels_are_those_of_training(
    folder: Path,
    pictures: Path,
    odd_pngs: list[Path],
    odd_tiffs: list[Path],
    soft_picture: Path,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (37, 50, 3), dtype=np.uint8)
    turned = []
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        turned.append(tmp_path / f"turn{turn}.webp")
        Image.fromarray(pixels).save(turned[-1], exif=exif, lossless=True)
    inks = Image.fromarray(rng.integers(0, 256, (37, 50, 4), dtype=np.uint8), "CMYK")
    inks.save(tmp_path / "print.jpg", quality=100, subsampling=0)
    files = [*sorted(pictures.iterdir()), *odd_pngs, *odd_tiffs, soft_picture, *turned]
    files.append(tmp_path / "print.jpg")
    size = 20
    done = subprocess.run(
        ["node", PROGRAM, str(size), *map(str, files)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    for file, line in zip(files, done.stdout.split(), strict=True):
        decoded = np.frombuffer(base64.b64decode(line), np.uint8).reshape(size, size, 3)
        np.testing.assert_array_equal(decoded, read_rgb(file, size), file.name)


def test_threshold_and_lines_for_people(classify: Run, crafted: Path, pictures: Path) -> None:
    files = [pictures / "photo0.png", pictures / "photo1.png"]
    status, out, err = classify("--threshold=1e9", crafted, *files)
    assert (status, err) == (0, [])
    assert all("  unknown (nearest " in line and "< 1000000000.0000" in line for line in out)
    status, out, err = classify("--threshold=-inf", crafted, *files)
    assert (status, err) == (0, [])
    assert all(">= -inf" in line and "unknown" not in line for line in out)


def test_unusable_images_are_reported_and_the_rest_answered(
    classify: Run, crafted: Path, pictures: Path, tmp_path: Path
) -> None:
    empty, text, huge = (tmp_path / name for name in ("empty.png", "text.png", "huge.png"))
    empty.write_bytes(b"")
    text.write_text("no picture")
    Image.new("1", (20_000, 20_000)).save(huge)
    whole = (pictures / "photo0.png").read_bytes()
    half = tmp_path / "half.png"
    half.write_bytes(whole[: len(whole) // 2])
    bad = [tmp_path / "none.png", empty, text, huge, half]
    status, out, err = classify("--json", crafted, *bad, pictures / "tiny.png")
    assert status == 1
    assert [json.loads(line)["image"] for line in out] == [str(pictures / "tiny.png")]
    assert [line.split(":")[0] for line in err] == [str(path) for path in bad]


def test_a_folder_stands_for_its_images(
    classify: Run, crafted: Path, pictures: Path, tmp_path: Path
) -> None:
    whole = (pictures / "photo0.png").read_bytes()
    for name in ("b.png", "a/z.PNG", "a/.hidden.png", "c/deep/x.jpeg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(whole)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    (tmp_path / "empty").mkdir()
    status, out, err = classify("--json", crafted, tmp_path / "in", tmp_path / "empty")
    shown = [json.loads(line)["image"] for line in out]
    assert shown == [str(tmp_path / "in" / name) for name in ("a/z.PNG", "b.png", "c/deep/x.jpeg")]
    assert status == 1 and [line.split(":")[0] for line in err] == [
        str(tmp_path / "in"),
        str(tmp_path / "empty"),
    ]


def test_pixels_without_an_agreed_range_or_a_decoder_are_one_line(
    classify: Run,
    crafted: Path,
    deep_tiffs: list[Path],
    rangeless_tiffs: list[Path],
    tmp_path: Path,
) -> None:
    packed = tmp_path / "packed.tif"
    Image.new("L", (16, 16), 255).save(packed, compression="zstd")
    files = [*deep_tiffs, *rangeless_tiffs, packed]
    status, out, err = classify(crafted, *files)
    assert (status, out) == (1, [])
    assert [line.split(":")[0] for line in err] == [str(file) for file in files]


def test_unusable_models_and_options_are_one_line(
    classify: Run, crafted: Path, pictures: Path, tmp_path: Path
) -> None:
    picture = pictures / "tiny.png"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(crafted.read_bytes()[:-50])
    for arguments in (
        (broken, picture),
        (tmp_path / "none.onnx", picture),
        (crafted,),
        ("--threshold=soon", crafted, picture),
        ("--sharp", crafted, picture),
    ):
        status, out, err = classify(*arguments)
        assert (status, out, len(err)) == (2, [], 1), err
        assert err[0].startswith("classify.js: ")
